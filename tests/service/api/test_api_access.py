"""Tokens, the audit, limits, metrics, health, and the form of every problem."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import SPEC, Asks, People, a_job, problem_of, running_job, serving, settings_for

from service.api import create_app, schemas
from service.api.negotiation import choose
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store import Store


def test_a_token_is_made_used_and_revoked(ask: Asks, url: str, store: Store, people: People) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"name": "ci", "owner": "carl", "role": "submitter", "expires_at": end}
    response = ask("root", "POST", "/v1/tokens", json=body)
    made = schemas.NewToken.model_validate(response.json())
    assert response.status_code == 201
    assert re.fullmatch(r"tl_[A-Za-z0-9_-]{43}", made.token)
    as_carl = {"Authorization": f"Bearer {made.token}"}
    me = schemas.Me.model_validate(httpx.get(f"{url}/v1/me", headers=as_carl).json())
    assert (me.owner, me.role, me.name, me.token_id) == ("carl", "submitter", "ci", made.id)
    listed = schemas.Page[schemas.Token].model_validate(ask("root", "GET", "/v1/tokens").json())
    assert made.token not in str(listed)
    assert {token.owner for token in listed.items} == {"carl", "root", "ann", "bob"}
    only = ask("root", "GET", "/v1/tokens", params={"owner": "carl"}).json()["items"]
    assert [token["id"] for token in only] == [made.id]
    assert ask("root", "DELETE", f"/v1/tokens/{made.id}").status_code == 204
    assert ask("root", "DELETE", f"/v1/tokens/{made.id}").status_code == 204
    assert httpx.get(f"{url}/v1/me", headers=as_carl).status_code == 401
    assert problem_of(ask("root", "DELETE", "/v1/tokens/nobody"))["code"] == "not_found"
    pages = schemas.Page[schemas.AuditEntry].model_validate(ask("root", "GET", "/v1/audit").json())
    assert [entry.action for entry in pages.items] == ["token.revoke", "token.create"]
    assert {entry.owner for entry in pages.items} == {"root"}
    assert made.token not in str(store.audit())


BAD_TOKENS: list[tuple[dict[str, Any], str]] = [
    ({"role": "king"}, "body.role"),
    ({"owner": ""}, "body.owner"),
    ({"owner": "a b"}, "body.owner"),
    ({"name": "x" * 101}, "body.name"),
    ({"name": None}, "body.name"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at"),
    ({"expires_at": "2120-01-01T00:00:00"}, "body.expires_at"),
    ({"expires_at": "soon"}, "body.expires_at"),
    ({"expires_at": 1e12}, "body.expires_at"),
    ({"secret": "mine"}, "body.secret"),
]


def test_a_token_that_breaks_a_rule_is_not_made(ask: Asks) -> None:
    for changes, field in BAD_TOKENS:
        response = ask(
            "root", "POST", "/v1/tokens", json={"name": "ci", "owner": "carl", "role": "viewer"} | changes
        )
        assert (changes, response.status_code, problem_of(response)["field"]) == (changes, 422, field)


NO_TOKENS = ["Bearer", "Bearer tl_short", "Basic YTpi", "tl_" + "a" * 43, "Bearer tl_" + "a" * 43, "\xff"]


def test_what_is_no_token_opens_nothing(url: str, people: People) -> None:
    for header in NO_TOKENS:
        response = httpx.get(f"{url}/v1/me", headers={"Authorization": header.encode("latin-1")})
        assert (header, response.status_code) == (header, 401)
        assert problem_of(response)["code"] == "unauthorized"


def test_the_audit_comes_in_pages(ask: Asks, store: Store) -> None:
    job = a_job(store)
    for priority in range(7):
        ask("ann", "PUT", f"/v1/jobs/{job.id}/priority", json={"priority": priority + 1})
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 3, "job_id": job.id}
    while True:
        page = ask("root", "GET", "/v1/audit", params=params).json()
        seen += [entry["detail"]["to"] for entry in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_a_token_that_asks_too_often_waits_and_others_do_not(home: Path, store: Store, people: People) -> None:
    strict = settings_for(home, database_url=store.url, rate_per_minute=5, rate_burst=100)
    with serving(create_app(strict, store)) as url, httpx.Client(base_url=url) as client:

        def get(who: str | None) -> httpx.Response:
            return client.get("/v1/me", headers=people.headers(who))

        assert [get("ann").status_code for _ in range(6)] == [200] * 5 + [429]
        refused = get("ann")
        assert problem_of(refused)["code"] == "rate_limited"
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert get("bob").status_code == 200
        assert [get(None).status_code for _ in range(6)] == [401] * 5 + [429]
        assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_by_route_and_jobs_by_state(ask: Asks, store: Store) -> None:
    running, _ = running_job(store), [a_job(store) for _ in range(3)]
    store.record_worker("w")
    ask("ann", "GET", f"/v1/jobs/{running.id}")
    ask("ann", "GET", "/v1/jobs/nothing")
    ask(None, "GET", "/anything/at/all")
    ask(None, "BREW", "/v1/jobs")
    lines = set(ask("ann", "GET", "/metrics").text.splitlines())
    assert lines >= {
        'tuneladder_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0',
        'tuneladder_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"} 1.0',
        'tuneladder_http_requests_total{method="GET",route="none",status="404"} 1.0',
        'tuneladder_http_requests_total{method="other",route="/v1/jobs",status="405"} 1.0',
        'tuneladder_http_request_seconds_count{method="GET",route="/v1/jobs/{job_id}"} 2.0',
        'tuneladder_jobs{state="running"} 1.0',
        'tuneladder_jobs{state="queued"} 3.0',
        'tuneladder_jobs{state="cancelled"} 0.0',
        "tuneladder_queue_length 3.0",
        "tuneladder_workers 1.0",
        "tuneladder_watchers 0.0",
    }
    assert ask("ann", "GET", "/readyz").json() == {"status": "ready", "num_workers": 1}


def test_a_store_that_is_away_is_said_without_its_address(
    settings: Settings, store: Store, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(create_app(settings, store)) as url, httpx.Client(base_url=url) as client:

        def away(*_: Any, **__: Any) -> Any:
            raise StoreUnavailableError("the store must answer, postgresql://admin@db.internal/jobs does not")

        monkeypatch.setattr(store, "job_rows", away)
        monkeypatch.setattr(store, "workers", away)
        for path in ("/v1/jobs", "/readyz"):
            response = client.get(path, headers=people.headers("ann"))
            assert response.status_code == 503
            assert problem_of(response)["code"] == "unavailable"
            assert "internal" not in response.text
            assert "retry-after" in response.headers
        assert client.get("/healthz").status_code == 200


def test_a_fault_tells_nothing_of_the_inside(
    settings: Settings, store: Store, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret of the inside")

    monkeypatch.setattr(store, "job_rows", fault)
    with serving(create_app(settings, store)) as url:
        response = httpx.get(f"{url}/v1/jobs", headers=people.headers("ann"), timeout=60)
        assert response.status_code == 500
        assert problem_of(response)["code"] == "internal"
        assert "secret" not in response.text
        assert response.headers["x-request-id"]


REFUSALS: dict[tuple[str, str], tuple[int, str]] = {
    ("GET", "/"): (404, "not_found"),
    ("GET", "/v1"): (404, "not_found"),
    ("GET", "/v1/jobs/"): (404, "not_found"),
    ("GET", "/v1/nothing/here"): (404, "not_found"),
    ("GET", "/v1/jobs/..%2f..%2fetc"): (404, "not_found"),
    ("GET", "/v1/jobs/a%00b"): (422, "invalid_request"),
    ("GET", "/v1/jobs/%ff"): (422, "invalid_request"),
    ("GET", "/v1/jobs/" + "a" * 5000): (422, "invalid_request"),
    ("GET", "/v1/jobs/%25"): (422, "invalid_request"),
    ("GET", "/v1/jobs/a/trials/-1"): (422, "invalid_request"),
    ("GET", "/v1/jobs/a/trials/99999999999999999999"): (422, "invalid_request"),
    ("GET", "/v1/jobs?limit=201"): (422, "invalid_request"),
    ("GET", "/v1/jobs?limit=x"): (422, "invalid_request"),
    ("GET", "/v1/jobs?state=lost"): (422, "invalid_request"),
    ("GET", "/v1/jobs?sort=colour"): (422, "invalid_request"),
    ("GET", "/v1/jobs?name=a%00b"): (422, "invalid_request"),
    ("GET", "/v1/spaces/transformer"): (404, "not_found"),
    ("PATCH", "/v1/jobs"): (405, "method_not_allowed"),
    ("DELETE", "/v1/jobs/abc"): (405, "method_not_allowed"),
    ("OPTIONS", "/v1/jobs"): (405, "method_not_allowed"),
    ("POST", "/healthz"): (405, "method_not_allowed"),
}


def test_every_refusal_is_a_problem(ask: Asks) -> None:
    got, allowed = {}, {}
    for method, path in REFUSALS:
        response = ask("ann", method, path)
        got[method, path] = (response.status_code, response.json()["code"])
        assert response.headers["content-type"] == "application/problem+json"
        if response.status_code == 405:
            allowed[path] = set(response.headers["allow"].split(", "))
    assert got == REFUSALS
    assert allowed == {"/v1/jobs": {"GET", "POST"}, "/v1/jobs/abc": {"GET"}, "/healthz": {"GET"}}


def test_a_form_that_is_not_there_is_refused(ask: Asks, store: Store) -> None:
    job = a_job(store)
    for path, accept in (
        ("/v1/jobs", "text/html"),
        ("/v1/jobs", "application/json;q=0"),
        (f"/v1/jobs/{job.id}/events", "text/csv"),
        (f"/v1/jobs/{job.id}/bundle", "application/zip"),
    ):
        assert problem_of(ask("ann", "GET", path, headers={"Accept": accept}))["code"] == "not_acceptable"
    assert ask("ann", "GET", "/v1/jobs", headers={"Accept": "text/html, */*;q=0.1"}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/*, application/json;q=0.5", "text/event-stream"),
        ("application/json, text/event-stream;q=0.9", "application/json"),
        ("application/json;q=0.2, */*", "text/event-stream"),
        ("APPLICATION/JSON ; Q=1", "application/json"),
        ("text/event-stream;q=nonsense", "text/event-stream"),
        ("image/png", None),
        ("*/*;q=0", None),
    ],
)
def test_what_a_client_likes_best_is_chosen(accept: str, chosen: str | None) -> None:
    assert choose(accept, ("application/json", "text/event-stream")) == chosen


def test_an_id_of_the_request_comes_back_unless_it_could_forge_a_log(ask: Asks) -> None:
    assert ask("ann", "GET", "/v1/me", headers={"X-Request-Id": "a-1.b"}).headers["x-request-id"] == "a-1.b"
    for strange in ("x" * 65, "a b", "{}"):
        given = ask("ann", "GET", "/v1/me", headers={"X-Request-Id": strange}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", given)


def test_the_catalog_is_what_the_document_says(ask: Asks) -> None:
    spaces = ask("ann", "GET", "/v1/spaces").json()
    assert set(spaces) == {"mlp", "cnn", "rnn"}
    for name, space in spaces.items():
        assert schemas.Space.model_validate(space).stages[0]["opens"] == ["lr"]
        assert ask("ann", "GET", f"/v1/spaces/{name}").json() == space
    assert [schemas.Family.model_validate(f).name for f in ask("ann", "GET", "/v1/families").json()] == [*spaces]
    assert all(schemas.Dataset.model_validate(one) for one in ask("ann", "GET", "/v1/datasets").json())


def test_answers_are_not_kept_by_caches(ask: Asks) -> None:
    response = ask("ann", "POST", "/v1/jobs", json=SPEC)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
