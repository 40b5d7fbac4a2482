"""Jobs over HTTP: submitted once, listed without gaps, steered."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from api_parts import LEASE_S, SPEC, Asks, a_job, problem_of, running_job
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api import schemas
from service.documents import parse_spec
from service.store import JobState, Store


@pytest.mark.parametrize("media_type", ["application/json", "application/yaml", "application/yaml; charset=utf-8"])
def test_a_spec_becomes_a_queued_job(ask: Asks, store: Store, media_type: str) -> None:
    content = yaml.safe_dump(SPEC)
    if media_type == "application/json":
        response = ask("ann", "POST", "/v1/jobs", json=SPEC, params={"priority": 7})
    else:
        response = ask(
            "ann",
            "POST",
            "/v1/jobs",
            content=content,
            headers={"Content-Type": media_type},
            params={"priority": 7},
        )
    assert response.status_code == 201
    shown = schemas.Job.model_validate(response.json())
    job = store.job(shown.id)
    assert (job.owner, job.priority, job.state, job.name) == ("ann", 7, JobState.QUEUED, "digits")
    assert job.spec == parse_spec(SPEC).model_dump(mode="json")
    assert response.headers["location"] == f"/v1/jobs/{job.id}"
    assert ask("ann", "GET", response.headers["location"]).json() == response.json()
    assert ask("ann", "GET", f"/v1/jobs/{job.id[:6]}").json()["id"] == job.id
    entry = store.audit()[0]
    assert (entry.owner, entry.action, entry.job_id) == ("ann", "job.submit", job.id)


def test_a_key_makes_one_job_whoever_repeats_it(ask: Asks, store: Store) -> None:
    def submit(who: str = "ann", priority: int = 0, **changes: Any) -> Any:
        headers = {"Idempotency-Key": "monday/1"}
        return ask(who, "POST", "/v1/jobs", json=SPEC | changes, headers=headers, params={"priority": priority})

    first, again = submit(), submit()
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    # The same request, written in another way: defaults filled in by hand.
    assert submit(seed=0, objective={"metric": "auto"}).json()["id"] == first.json()["id"]
    assert submit("bob").status_code == 201
    for other in (submit(seed=1), submit(priority=1)):
        assert other.status_code == 409
        assert problem_of(other)["code"] == "idempotency_conflict"
    assert len(store.jobs()) == 2


def test_a_key_makes_one_job_when_it_comes_many_times_at_once(ask: Asks, store: Store) -> None:
    def submit(_: int) -> tuple[int, str]:
        response = ask("ann", "POST", "/v1/jobs", json=SPEC, headers={"Idempotency-Key": "k"})
        return response.status_code, response.json()["id"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(submit, range(24)))
    assert sorted(status for status, _ in answers) == [200] * 23 + [201]
    assert {job_id for _, job_id in answers} == {store.jobs()[0].id}
    assert len(store.jobs()) == 1


def test_a_key_that_is_none_is_refused(ask: Asks, store: Store) -> None:
    for key in ("", "a b", "ä", "x" * 201):
        response = ask("ann", "POST", "/v1/jobs", json=SPEC, headers={"Idempotency-Key": key.encode()})
        assert (key, response.status_code) == (key, 422)
        assert problem_of(response)["field"] == "header.idempotency-key"
    assert not store.jobs()


def test_an_answer_is_what_the_document_says(ask: Asks, store: Store) -> None:
    job = running_job(store)
    a_job(store)
    schemas.Job.model_validate(ask("ann", "GET", f"/v1/jobs/{job.id}").json())
    schemas.Page[schemas.ListedJob].model_validate(ask("ann", "GET", "/v1/jobs").json())
    schemas.Page[schemas.Event].model_validate(ask("ann", "GET", f"/v1/jobs/{job.id}/events").json())


def walk(ask: Asks, params: Mapping[str, Any], *, between: Any = lambda: None) -> list[dict[str, Any]]:
    """Read a list page by page."""
    items, cursor = [], None
    while True:
        page = ask("root", "GET", "/v1/jobs", params={**params, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) <= params["limit"]
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        between()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    limit=st.integers(1, 9),
    sort=st.sampled_from(["created", "updated", "priority"]),
    descending=st.booleans(),
    job_filter=st.sampled_from(
        [{}, {"state": "queued"}, {"name": "a"}, {"owner": "bob"}, {"owner": "ann", "name": "b"}]
    ),
)
def test_pages_put_together_are_the_whole_list(
    *, ask: Asks, store: Store, limit: int, sort: str, descending: bool, job_filter: dict[str, str]
) -> None:
    if not store.jobs(limit=1):
        for number in range(23):
            job = a_job(store, owner=("ann", "bob")[number % 2], name="ab"[number % 3 % 2], priority=number % 4)
            if number % 5 == 0:
                store.cancel_job(job.id)
    params = {**job_filter, "sort": f"{'-' if descending else ''}{sort}"}
    whole = walk(ask, {**params, "limit": 200})
    assert walk(ask, {**params, "limit": limit}) == whole
    jobs = [job for job in store.jobs(limit=200) if all(str(getattr(job, k)) == v for k, v in job_filter.items())]
    by = {
        "created": lambda j: j.id,
        "updated": lambda j: (j.updated_at, j.id),
        "priority": lambda j: (j.priority, j.id),
    }
    assert [item["id"] for item in whole] == [job.id for job in sorted(jobs, key=by[sort], reverse=descending)]


@pytest.mark.parametrize("sort", ["-created", "created", "priority", "-priority"])
def test_jobs_that_come_while_a_list_is_read_repeat_none_and_hide_none(ask: Asks, store: Store, sort: str) -> None:
    before = {a_job(store, priority=n % 3).id for n in range(12)}
    seen = [item["id"] for item in walk(ask, {"limit": 5, "sort": sort}, between=lambda: a_job(store, priority=1))]
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_a_cursor_of_nobody_is_no_fault_of_the_server(ask: Asks) -> None:
    for cursor in ("zz", "1~", "~", "12~abc", "9" * 30 + "~x", "2020-01-01~x", "a" * 101, "x\x00"):
        for sort in ("created", "updated", "priority"):
            response = ask("ann", "GET", "/v1/jobs", params={"sort": sort, "cursor": cursor})
            if response.status_code != 200:
                assert (cursor, sort, response.status_code) == (cursor, sort, 422)
                assert problem_of(response)["field"] == "query.cursor"


def test_a_job_is_paused_resumed_and_cancelled(ask: Asks, store: Store) -> None:
    job_id = a_job(store).id

    def post(what: str) -> tuple[int, str]:
        response = ask("ann", "POST", f"/v1/jobs/{job_id}/{what}")
        return response.status_code, response.json().get("state", response.json().get("code"))

    assert post("pause") == (200, "paused")
    assert post("pause") == (200, "paused")
    assert post("resume") == (200, "queued")
    assert post("cancel") == (200, "cancelled")
    assert post("resume") == (409, "conflict")
    assert post("pause") == (409, "conflict")
    actions = [entry.action for entry in reversed(store.audit(job_id=job_id))]
    assert actions == ["job.pause", "job.resume", "job.cancel"]


def test_a_running_job_is_paused_at_the_end_of_its_leg(ask: Asks, store: Store) -> None:
    job = running_job(store)
    response = ask("ann", "POST", f"/v1/jobs/{job.id}/pause")
    assert (response.status_code, response.json()["state"], response.json()["wish"]) == (202, "running", "pause")
    assert store.renew_lease(job.id, job.attempt, LEASE_S).wish == "pause"
    back = ask("ann", "POST", f"/v1/jobs/{job.id}/resume")
    assert (back.status_code, back.json()["wish"]) == (200, None)


BAD_PRIORITIES: list[tuple[object, str]] = [
    ({"priority": 1001}, "body.priority"),
    ({"priority": "3"}, "body.priority"),
    ({"priority": 1.5}, "body.priority"),
    ({"priority": True}, "body.priority"),
    ({"priority": 10**30}, "priority"),
    ({}, "body.priority"),
    ({"priority": 1, "more": 2}, "body.more"),
    ([1], "body"),
]


def test_a_priority_that_is_none_is_refused(ask: Asks, store: Store) -> None:
    job = a_job(store)
    for body, field in BAD_PRIORITIES:
        response = ask("ann", "PUT", f"/v1/jobs/{job.id}/priority", json=body)
        assert (body, response.status_code, problem_of(response)["field"]) == (body, 422, field)
    assert store.job(job.id).priority == 0


def test_a_priority_is_set(ask: Asks, store: Store) -> None:
    job = a_job(store)
    response = ask("ann", "PUT", f"/v1/jobs/{job.id}/priority", json={"priority": -5.0})
    assert (response.status_code, response.json()["priority"]) == (200, -5)
    assert store.job(job.id).priority == -5
