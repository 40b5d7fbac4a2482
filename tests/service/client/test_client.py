"""The client against a server process with a store behind it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_process import PLAN, SPEC, Served, Worker, serve

from service.client import (
    ApiAccessError,
    ApiConflictError,
    ApiNotFoundError,
    ApiSpecError,
    Client,
    Event,
    ExportEvent,
    JobEvent,
    LegEvent,
    OtherEvent,
    Plan,
    PlanEvent,
    RoundEvent,
    RungEvent,
    StageEvent,
)
from service.client.models import FINAL_STATES
from service.errors import ConflictError, InvalidSpecError, NotFoundError
from service.store import Role


@pytest.fixture
def client(served: Served) -> Client:
    return served.client()


def named(name: str, **changes: Any) -> dict[str, Any]:
    return SPEC | {"name": name} | changes


def finished(served: Served, client: Client, name: str) -> str:
    """A job that has come to its end."""
    job = client.submit(named(name), priority=500)
    Worker(served, job.id).go()
    return job.id


def test_a_job_is_submitted_found_and_shown(client: Client) -> None:
    job = client.submit(named("shown"), priority=7)
    assert (job.name, job.state, job.owner, job.priority, job.is_repeat) == ("shown", "queued", "ada", 7, False)
    assert job.spec is not None
    assert job.spec["budget"]["epochs"] == 12
    assert client.job(job.id[:20]).id == job.id
    assert [j.id for j in client.jobs(name="shown")] == [job.id]
    assert next(client.jobs(name="shown")).spec is None
    assert client.stages(job.id) == list(client.trials(job.id)) == client.exports(job.id) == []
    client.cancel(job.id)


def test_a_spec_file_is_submitted_as_yaml_and_as_json(client: Client, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(named("yaml")), encoding="utf-8")
    (tmp_path / "spec.json").write_text('{"family": "mlp", "data": {"name": "wine"}, "name": "json"}')
    jobs = [client.submit(tmp_path / "spec.yaml"), client.submit(str(tmp_path / "spec.json"))]
    assert [job.name for job in jobs] == ["yaml", "json"]
    for job in jobs:
        assert client.cancel(job.id).state == "cancelled"


def test_the_same_key_makes_one_job_and_another_spec_with_it_is_refused(client: Client) -> None:
    first = client.submit(named("once"), idempotency_key="nightly")
    again = client.submit(named("once"), idempotency_key="nightly")
    assert (again.id, again.is_repeat) == (first.id, True)
    with pytest.raises(ApiConflictError, match="idempotency key stands for one request") as error:
        client.submit(named("twice"), idempotency_key="nightly")
    assert error.value.code == "idempotency_conflict"
    client.cancel(first.id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"budget": {"epochs": 0}}, "budget.epochs"),
        ({"data": {"name": "vine"}}, "data.name"),
        ({"data": {"csv": "/etc/passwd", "target": "x"}}, "data.csv"),
        ({"speed": 3}, "speed"),
    ],
)
def test_a_wrong_spec_is_an_invalid_spec_with_its_field(
    client: Client, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSpecError) as error:
        client.submit(SPEC | changes)
    assert isinstance(error.value, ApiSpecError)
    assert (error.value.field, error.value.status, error.value.exit_code) == (field, 422, 2)


def test_jobs_are_listed_over_pages_in_the_order_that_is_asked_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = served.client("bob")
    made = [bob.submit(named(f"n{number}"), priority=number % 3).id for number in range(7)]
    monkeypatch.setattr("service.client.answers.PAGE_SIZE", 3)
    assert [job.id for job in bob.jobs()] == made[::-1]
    assert [job.id for job in bob.jobs(limit=4)] == made[:2:-1]
    assert [job.priority for job in bob.jobs(sort="-priority")] == [2, 2, 1, 1, 0, 0, 0]
    assert [job.id for job in bob.jobs(sort="created", state="queued", limit=1)] == made[:1]
    for job_id in made:
        bob.cancel(job_id)
    assert {job.state for job in bob.jobs(state="cancelled")} == {"cancelled"}
    assert list(bob.jobs(state="queued")) == []


def test_a_job_of_another_owner_is_not_there_for_anyone_but_an_admin(served: Served, client: Client) -> None:
    job = client.submit(named("mine"))
    with pytest.raises(NotFoundError, match="no job has the id") as error:
        served.client("eve").job(job.id)
    assert isinstance(error.value, ApiNotFoundError)
    assert served.client("root", Role.ADMIN).job(job.id).owner == "ada"
    with pytest.raises(ApiAccessError, match="administrators"):
        list(served.client("eve").jobs(owner="ada"))
    assert [j.id for j in served.client("root", Role.ADMIN).jobs(owner="ada", name="mine")] == [job.id]
    client.cancel(job.id)


def test_a_viewer_looks_and_moves_nothing(served: Served, client: Client) -> None:
    job = client.submit(named("looked-at"))
    viewer = served.client("ada", Role.VIEWER)
    assert (viewer.me().owner, viewer.me().role) == ("ada", "viewer")
    assert viewer.job(job.id).id == job.id
    for move in (viewer.pause, viewer.resume, viewer.cancel, lambda id_: viewer.set_priority(id_, 3)):
        with pytest.raises(ApiAccessError, match="role"):
            move(job.id)
    client.cancel(job.id)


def test_a_wrong_token_is_said(served: Served) -> None:
    with pytest.raises(ApiAccessError, match="token") as error:
        Client(served.url, "tl_" + "x" * 43).me()
    assert (error.value.status, error.value.exit_code) == (401, 2)
    with pytest.raises(ApiAccessError, match="set TUNELADDER_TOKEN"):
        Client(served.url).me()


def test_a_job_is_paused_resumed_reordered_and_ended(served: Served, client: Client) -> None:
    job = client.submit(named("moved"), priority=900)
    assert client.pause(job.id).state == "paused"
    assert client.resume(job.id).state == "queued"
    assert client.set_priority(job.id, 901).priority == 901
    worker = Worker(served, job.id, steps=2)
    asked = client.pause(job.id)
    assert (asked.state, asked.wish, asked.worker) == ("running", "pause", "worker-1")
    assert client.cancel(job.id).wish == "cancel"
    worker.store.cancel_job(job.id)
    with pytest.raises(ConflictError, match="cancelled job cannot become"):
        client.resume(job.id)
    with pytest.raises(ApiSpecError, match="priority"):
        client.set_priority(job.id, 10**9)


def test_a_finished_job_shows_stages_trials_and_winner(served: Served, client: Client) -> None:
    job_id = finished(served, client, "done")
    job = client.wait(job_id)
    assert (job.state, job.metric, job.best_trial, job.is_final) == ("completed", "val_accuracy", 1, True)
    assert job.result is not None
    assert job.result["num_trials"] == 4
    assert [(s.name, s.state, (s.outcome or {})["adopted"]) for s in client.stages(job_id)] == [
        ("lr", "completed", True),
        ("width", "completed", False),
    ]
    trials = list(client.trials(job_id))
    assert [(t.number, t.state, t.epochs) for t in trials] == [
        (0, "stopped", 2), (1, "completed", 4), (2, "stopped", 2), (3, "completed", 4)
    ]  # fmt: skip
    assert trials[1].metrics == {"val_accuracy": pytest.approx(0.9)}
    assert trials[1].measurements is None
    (whole, *_) = client.trials(job_id, measurements=True, limit=1)
    assert [m.epoch for m in whole.measurements or ()] == [1, 2]
    assert client.trial(job_id, 3).measurements
    best = client.best(job_id)
    assert (best.number, best.metric, best.test) == (1, "val_accuracy", {"test_accuracy": 0.875})


def test_who_has_no_winner_yet_says_so(client: Client) -> None:
    job = client.submit(named("early"))
    with pytest.raises(ConflictError, match="a winner is known when a job has completed"):
        client.best(job.id)
    with pytest.raises(ConflictError, match="wait for it"):
        client.download(job.id, "never-made")
    assert not Path("never-made").exists()
    client.cancel(job.id)


def test_a_bundle_is_fetched_with_its_checksums(served: Served, client: Client, tmp_path: Path) -> None:
    job_id = finished(served, client, "bundled")
    folder = client.download(job_id, tmp_path / "new" / "bundle")
    original = served.home / "bundles" / job_id
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "checkpoint.ckpt", "metrics.json"}
    assert all(path.read_bytes() == (original / path.name).read_bytes() for path in folder.iterdir())
    with pytest.raises(ConflictError, match="exists: choose another"):
        client.download(job_id, folder)
    (first,) = client.exports(job_id)
    assert (first.state, first.trial) == ("completed", 1)
    assert client.download(job_id, tmp_path / "again", export=first.id).is_dir()
    (original / "checkpoint.ckpt").write_bytes(b"changed")
    with pytest.raises(Exception, match=r"checkpoint\.ckpt is changed"):
        client.download(job_id, tmp_path / "broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "new"]
    asked = client.export(job_id, formats=["checkpoint", "safetensors"])
    assert (asked.state, len(client.exports(job_id))) == ("queued", 2)


def test_a_watch_tells_everything_in_its_order_and_ends_with_the_job(served: Served, client: Client) -> None:
    job = client.submit(named("watched"), priority=800)
    worker = Worker(served, job.id, steps=3)
    seen: list[Event] = []
    for event in client.watch(job.id):
        seen.append(event)
        if isinstance(event, LegEvent) and event.data.end_epoch == 2 and event.data.key.startswith("r0000"):
            worker.go()  # the rest happens while it is watched
    assert [event.number for event in seen] == list(range(len(seen)))
    kinds = [type(event) for event in seen]
    assert OtherEvent not in kinds
    assert {JobEvent, PlanEvent, RoundEvent, LegEvent, RungEvent, StageEvent, ExportEvent} <= set(kinds)
    assert isinstance(seen[-1], JobEvent)
    assert seen[-1].data.state == "completed"
    later = [event.number for event in client.watch(job.id, after=seen[3].number)]
    assert later == [event.number for event in seen[4:]]
    assert list(client.watch(job.id, after=seen[-1].number)) == []


def test_a_watch_outlives_the_server_and_misses_nothing(tmp_path: Path) -> None:
    with serve(tmp_path / "home") as served:
        client = served.client()
        job = client.submit(named("outlived"))
        worker = Worker(served, job.id, steps=3)
        said: list[str] = []
        seen: list[int] = []

        def restart() -> None:
            served.stop()
            worker.go()  # nobody can tell of it now
            served.start()

        for event in client.watch(job.id, say=said.append):
            seen.append(event.number)
            if isinstance(event, LegEvent) and served.process is not None and not said:
                threading.Thread(target=restart).start()
        assert seen == list(range(client.job(job.id).num_events))
        assert said


def test_what_there_is_to_tune_is_listed(client: Client) -> None:
    assert set(client.spaces()) == {"mlp", "cnn", "rnn"}
    assert client.space("mlp")["name"] == "mlp"
    with pytest.raises(ApiNotFoundError, match="mlp, cnn, rnn"):
        client.space("mpl")
    assert {family["name"] for family in client.families()} == {"mlp", "cnn", "rnn"}
    assert "wine" in {dataset["name"] for dataset in client.datasets()}


def test_tokens_are_made_listed_used_and_revoked_and_the_audit_knows(served: Served) -> None:
    admin = served.client("root", Role.ADMIN)
    ends = datetime.now(UTC) + timedelta(days=3)
    token = admin.create_token("laptop", owner="cleo", role="submitter", expires_at=ends)
    assert token.token.startswith("tl_")
    assert token.token not in repr(token)
    assert token.expires_at == ends
    assert [t.id for t in admin.tokens(owner="cleo")] == [token.id]
    cleo = Client(served.url, token.token)
    job = cleo.submit(named("audited"))
    cleo.cancel(job.id)
    with pytest.raises(ApiAccessError, match="role"):
        list(cleo.tokens())
    admin.revoke_token(token.id)
    with pytest.raises(ApiAccessError):
        cleo.me()
    entries = [entry for entry in admin.audit(limit=20) if entry.job_id == job.id or "token" in entry.action]
    assert {"job.submit", "job.cancel", "token.create", "token.revoke"} <= {entry.action for entry in entries}
    assert {entry.owner for entry in entries if entry.job_id == job.id} == {"cleo"}


@pytest.mark.long
def test_a_dry_run_answers_with_the_plan(client: Client) -> None:
    plan = client.plan(named("dry"))
    assert plan.budget_epochs == 12
    assert plan.stages
    with pytest.raises(ApiSpecError):
        client.plan(SPEC | {"objective": {"metric": "val_speed", "mode": "max"}})


def test_the_client_knows_which_states_are_final() -> None:
    from service.store.states import JOB_MOVES, JobState

    never = {str(state) for state, moves in JOB_MOVES.items() if not moves}
    assert never | {str(JobState.FAILED)} == FINAL_STATES


def test_the_plan_of_these_tests_is_as_real_ones_are() -> None:
    from search_spaces import get_space
    from service.documents import parse_spec
    from service.search import make_plan

    spec = parse_spec(SPEC | {"budget": {"epochs": 60, "max_epochs_per_trial": 4}})
    real = make_plan(spec, get_space("mlp"), metric="val_accuracy", mode="max").to_dict()
    assert PLAN.keys() <= real.keys()
    assert PLAN["stages"][0].keys() == real["stages"][0].keys()
    assert Plan.model_validate(real).num_trials == real["num_trials"]
