from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import StatementError
from story import a_leg, a_result, queued_job, record_plan, running_job

from service.errors import ConflictError, NotFoundError
from service.store import JobState, Store, TrialState
from service.store.database import new_id


def test_a_job_is_found_as_it_was_submitted(store: Store) -> None:
    job = queued_job(store)
    found = store.job(job.id)
    assert found == job
    assert (found.name, found.state, found.seed, found.base_dir) == ("digits", JobState.QUEUED, 2**62, "/data")
    assert found.spec == {"name": "digits", "search": {"rungs": {"min_epochs": 2}}}
    assert found.plan is None
    assert found.result is None


def test_times_are_aware_and_in_utc(store_url: str) -> None:
    ahead = datetime.fromisoformat("2026-03-01T12:00:00.000250+02:00")
    with Store.open(store_url, clock=lambda: ahead) as store:
        created_at = store.job(queued_job(store).id).created_at
    assert created_at == ahead
    assert created_at.tzinfo is UTC


def test_a_naive_time_is_refused(store_url: str) -> None:
    times = iter([datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1)])
    with Store.open(store_url, clock=lambda: next(times)) as store:
        job = queued_job(store)
        with pytest.raises(StatementError, match=r"timezone-aware, got .*use datetime.now\(UTC\)"):
            store.start_job(job.id)


def test_ids_sort_by_time_and_are_short() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_id(start + timedelta(milliseconds=n)) for n in range(200)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {13}
    assert len({new_id(start) for _ in range(100)}) == 100
    assert new_id(datetime(2100, 1, 1, tzinfo=UTC)) > ids[-1]


def test_a_unique_beginning_of_an_id_finds_the_job(store_url: str) -> None:
    moments = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)])
    with Store.open(store_url, clock=lambda: next(moments)) as store:
        first, second = queued_job(store), queued_job(store)
        shared = next(n for n in range(13) if first.id[n] != second.id[n])
        assert store.job(first.id[: shared + 1]) == first
        with pytest.raises(NotFoundError, match=rf"several jobs begin with '{first.id[:shared]}'.*more of the id"):
            store.job(first.id[:shared])


@pytest.mark.parametrize("unknown", ["", "nothing", "%", "_"])
def test_an_unknown_id_is_not_found(store: Store, unknown: str) -> None:
    queued_job(store)
    with pytest.raises(NotFoundError, match=rf"no job has the id '{unknown}'"):
        store.job(unknown)


def test_jobs_are_listed_newest_first_page_by_page(store: Store) -> None:
    ids = [queued_job(store).id for _ in range(5)]
    pages, after = [], None
    while page := store.jobs(limit=2, after=after):
        pages.append([job.id for job in page])
        after = page[-1].id
    assert pages == [ids[4:2:-1], ids[2:0:-1], ids[:1]]


def test_jobs_are_listed_by_state(store: Store) -> None:
    waiting, started = queued_job(store), queued_job(store)
    store.start_job(started.id)
    assert [job.id for job in store.jobs(state=JobState.RUNNING)] == [started.id]
    assert [job.id for job in store.jobs(state=JobState.QUEUED)] == [waiting.id]


def test_the_latest_job_of_a_spec_is_found(store: Store) -> None:
    assert store.latest_job("spec-1") is None
    queued_job(store)
    newest = queued_job(store)
    queued_job(store, spec_fingerprint="spec-2")
    assert store.latest_job("spec-1") == newest


def test_a_job_runs_to_its_result(store: Store) -> None:
    job = running_job(store)
    assert job.started_at is not None
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    store.stop_trials(job.id, [2])
    done = store.finish_job(job.id, best_trial=0, result={"val_accuracy": 0.9})
    assert (done.state, done.best_trial, done.result) == (JobState.COMPLETED, 0, {"val_accuracy": 0.9})
    assert done.ended_at is not None
    states = [trial.state for trial in store.trials(job.id)]
    assert states == [TrialState.CANCELLED, TrialState.CANCELLED, TrialState.STOPPED]


def test_a_failed_job_says_why_and_may_run_again(store: Store) -> None:
    job = running_job(store)
    failed = store.fail_job(job.id, "the disk is full")
    assert (failed.state, failed.message) == (JobState.FAILED, "the disk is full")
    assert {trial.state for trial in store.trials(job.id)} == {TrialState.PENDING}
    again = store.start_job(job.id)
    assert (again.state, again.message, again.ended_at) == (JobState.RUNNING, None, None)
    assert again.started_at == job.started_at


def test_a_job_whose_process_died_is_started_again(store: Store) -> None:
    job = running_job(store)
    assert store.start_job(job.id) == job


def test_a_paused_job_goes_on(store: Store) -> None:
    job = running_job(store)
    assert store.pause_job(job.id, "Ctrl-C").state == JobState.PAUSED
    assert store.start_job(job.id).state == JobState.RUNNING


@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_an_ended_job_does_not_start_again(store: Store, end: str) -> None:
    job = running_job(store)
    if end == "completed":
        store.finish_job(job.id, best_trial=None, result={})
    else:
        store.cancel_job(job.id)
    with pytest.raises(ConflictError, match=rf"a {end} job cannot become running, got job {job.id}.*--new"):
        store.start_job(job.id)


def test_a_job_that_waits_cannot_complete(store: Store) -> None:
    job = queued_job(store)
    with pytest.raises(ConflictError, match=r"a queued job cannot become completed.*it may become cancelled"):
        store.finish_job(job.id, best_trial=None, result={})


def test_active_time_adds_up_over_resumes(store: Store) -> None:
    job = running_job(store)
    store.add_active_time(job.id, 1.5)
    store.add_active_time(job.id, 2.25)
    assert store.job(job.id).active_s == 3.75


def test_the_same_plan_again_changes_nothing(store: Store) -> None:
    job = running_job(store)
    stages = store.stages(job.id)
    record_plan(store, job.id)
    assert store.stages(job.id) == stages
    planned = store.job(job.id)
    assert (planned.plan, planned.metric, planned.mode) == ({"epochs": 60}, "val_accuracy", "max")
    assert [(stage.name, stage.opens) for stage in stages] == [
        ("lr", ("lr",)),
        ("dropout, width", ("dropout", "width")),
    ]


@pytest.mark.parametrize(
    "changes", [{"plan": {"epochs": 61}}, {"metric": "val_loss"}, {"mode": "min"}, {"stages": ()}]
)
def test_another_plan_needs_a_new_job(store: Store, changes: dict[str, object]) -> None:
    job = running_job(store)
    with pytest.raises(ConflictError, match=r"a job goes on with its plan.*another version.*--new"):
        record_plan(store, job.id, **changes)


def test_other_data_needs_a_new_job(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(ConflictError, match=r"goes on with the data it began with.*--new"):
        record_plan(store, job.id, data_fingerprint="data-2")


def test_a_stage_ends_once(store: Store) -> None:
    job = running_job(store)
    assert [stage.state for stage in store.stages(job.id)] == ["running", "pending"]
    store.record_stage_outcome(job.id, 0, {"lr": 0.1})
    store.record_stage_outcome(job.id, 0, {"lr": 0.1})
    store.record_stage_outcome(job.id, 1, {"why": "the budget is spent"}, skipped=True)
    stages = store.stages(job.id)
    assert [stage.state for stage in stages] == ["completed", "skipped"]
    assert stages[0].outcome == {"lr": 0.1}
    with pytest.raises(ConflictError, match=r"stage 0 of job .* ended in another way before"):
        store.record_stage_outcome(job.id, 0, {"lr": 0.2})


def test_a_stage_with_rounds_is_not_skipped(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(ConflictError, match=r"this move is not allowed"):
        store.record_stage_outcome(job.id, 0, {}, skipped=True)
    assert store.stages(job.id)[0].state == "running"


def test_an_unknown_stage_is_not_found(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(NotFoundError, match=r"has no stage 7"):
        store.record_stage_outcome(job.id, 7, {})


def test_exports_are_listed(store: Store) -> None:
    job = running_job(store)
    store.record_export(job.id, 1, "/bundles/one")
    store.record_export(job.id, 1, "/bundles/two")
    assert [(one.trial, str(one.path)) for one in store.exports(job.id)] == [
        (1, "/bundles/one"),
        (1, "/bundles/two"),
    ]
    with pytest.raises(NotFoundError, match=r"has no trial 9"):
        store.record_export(job.id, 9, "/bundles/three")


def test_the_test_split_is_read_once(store: Store) -> None:
    job = running_job(store)
    assert store.test_read(job.id) is None
    claim = store.claim_test_read(job.id, 1)
    assert claim.metrics is None
    assert store.claim_test_read(job.id, 1) == claim  # a process died between the claim and the result
    with pytest.raises(ConflictError, match=r"read once.*claimed for trial 1, got a claim for trial 0.*--new"):
        store.claim_test_read(job.id, 0)
    read = store.record_test_metrics(job.id, {"test_accuracy": 0.8, "test_loss": None})
    assert store.test_read(job.id) == read
    assert read.metrics == {"test_accuracy": 0.8, "test_loss": None}
    with pytest.raises(ConflictError, match=r"it was read for trial 1, got a claim for trial 1"):
        store.claim_test_read(job.id, 1)
    with pytest.raises(ConflictError, match=r"got metrics again"):
        store.record_test_metrics(job.id, {"test_accuracy": 0.9})


def test_test_metrics_need_a_claim(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(NotFoundError, match=r"was not claimed"):
        store.record_test_metrics(job.id, {"test_accuracy": 0.9})
    with pytest.raises(NotFoundError, match=r"has no trial 9"):
        store.claim_test_read(job.id, 9)


def test_a_message_of_other_people_s_code_is_kept_whatever_is_in_it(store: Store) -> None:
    """PostgreSQL has no NUL in a text, and no database writes half of a surrogate pair."""
    job = running_job(store)
    store.fail_job(job.id, "bad byte \x00, half \ud83d, whole \U0001f642")
    assert store.job(job.id).message == "bad byte \ufffd, half ?, whole \U0001f642"


def test_documents_come_back_in_their_order_and_to_the_last_digit(store: Store) -> None:
    spec = {"zeta": 0.1 + 0.2, "a": {"longer": 1e-300, "b": 2**53 + 1}, "text": "\x00 \u20ac", "none": None}
    job = store.create_job(name="job", spec=spec, spec_fingerprint="f", base_dir="/", seed=0)
    found = store.job(job.id).spec
    assert found == spec
    assert [*found, *found["a"]] == ["zeta", "a", "text", "none", "longer", "b"]
