"""Who runs which job, on a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from story import a_leg, a_result, new_trials, queued_job, record_plan

from service.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidSpecError,
    LeaseLostError,
    NotFoundError,
)
from service.store import Actor, JobRecord, JobState, Store, TrialState, Wish

LEASE_S = 30


class TurnedClock:
    """A clock that goes on a millisecond whenever it is asked, so that ids are in order."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def store(store_url: str, clock: TurnedClock) -> Iterator[Store]:
    with Store.open(store_url, clock=clock) as opened:
        yield opened


def claim(store: Store, worker: str = "w1", **options: int) -> JobRecord:
    job = store.claim_job(worker=worker, lease_s=LEASE_S, **options)
    assert job is not None
    return job


def submitted(store: Store, **changes: object) -> JobRecord:
    values: dict[str, object] = {"spec": {}, "spec_fingerprint": "f", "base_dir": "/", "seed": 0, "name": "job"}
    return store.submit_job(**(values | changes)).job  # type: ignore[arg-type]


def test_a_claimed_job_is_its_worker_s_for_the_time_of_the_lease(store: Store, clock: TurnedClock) -> None:
    job = queued_job(store)
    claimed = claim(store)
    assert (claimed.id, claimed.state, claimed.worker, claimed.attempt) == (job.id, JobState.RUNNING, "w1", 1)
    assert claimed.lease_until is not None
    assert (claimed.lease_until - clock.now).total_seconds() == pytest.approx(LEASE_S, abs=0.1)
    assert claimed.started_at is not None
    assert store.claim_job(worker="w2", lease_s=LEASE_S) is None
    assert store.job(job.id) == claimed


def test_a_renewed_lease_lasts_longer(store: Store, clock: TurnedClock) -> None:
    queued_job(store)
    job = claim(store)
    for _ in range(3):
        clock.turn(LEASE_S - 1)
        store.renew_lease(job.id, 1, LEASE_S)
    assert store.claim_job(worker="w2", lease_s=LEASE_S) is None
    clock.turn(LEASE_S + 1)
    assert claim(store, "w2").attempt == 2


def test_after_the_lease_the_next_worker_takes_the_job(store: Store, clock: TurnedClock) -> None:
    queued_job(store)
    first = claim(store)
    clock.turn(LEASE_S + 1)
    second = claim(store, "w2")
    assert (second.id, second.worker, second.attempt, second.num_deaths) == (first.id, "w2", 2, 1)
    with pytest.raises(LeaseLostError, match=r"got attempt 1 of job .*, which is running at attempt 2: stop this"):
        store.renew_lease(first.id, 1, LEASE_S)
    with pytest.raises(LeaseLostError):
        store.release_job(first.id, 1)
    assert store.job(first.id) == second


def test_a_lease_that_ended_may_still_be_renewed_while_nobody_took_the_job(
    store: Store, clock: TurnedClock
) -> None:
    queued_job(store)
    job = claim(store)
    clock.turn(LEASE_S + 1)
    store.renew_lease(job.id, 1, LEASE_S)
    assert store.claim_job(worker="w2", lease_s=LEASE_S) is None


def test_a_run_without_a_server_is_never_claimed(store: Store, clock: TurnedClock) -> None:
    store.start_job(queued_job(store).id)
    clock.turn(10**6)
    assert store.claim_job(worker="w1", lease_s=LEASE_S) is None
    assert store.next_job() is None


def test_a_worker_s_job_is_not_started_beside_it(store: Store, clock: TurnedClock) -> None:
    job = queued_job(store)
    claim(store)
    with pytest.raises(ConflictError, match=r"one process at a time, got job .* which worker w1 is running"):
        store.start_job(job.id)
    clock.turn(LEASE_S + 1)
    taken = store.start_job(job.id)
    assert (taken.state, taken.worker, taken.lease_until, taken.attempt) == (JobState.RUNNING, None, None, 2)
    with pytest.raises(LeaseLostError):
        store.renew_lease(job.id, 1, LEASE_S)


def test_the_child_of_a_worker_starts_its_own_job(store: Store) -> None:
    queued_job(store)
    job = claim(store)
    assert store.fenced(job.id, 1).start_job(job.id) == job


def test_priority_goes_before_age(store: Store) -> None:
    ids = {priority: submitted(store, priority=priority).id for priority in (0, 5, -5, 5)}
    second = submitted(store, priority=0).id
    order = [claim(store).id for _ in range(5)]
    assert order[0] < order[1]  # of the two with 5 the older one
    assert order[1] == ids[5]
    assert order[2:] == [ids[0], second, ids[-5]]


def test_among_equals_the_owner_with_the_fewest_running_jobs_is_next(store: Store) -> None:
    for owner in ("ann", "ann", "ann", "bob", "bob", "cid"):
        submitted(store, owner=owner)
    assert [claim(store).owner for _ in range(6)] == ["ann", "bob", "cid", "ann", "bob", "ann"]


def test_an_owner_has_a_limit_of_running_jobs(store: Store, clock: TurnedClock) -> None:
    for owner in ("ann", "ann", "bob"):
        submitted(store, owner=owner)
    options = {"max_running_per_owner": 1}
    assert [claim(store, **options).owner for _ in range(2)] == ["ann", "bob"]
    assert store.claim_job(worker="w", lease_s=LEASE_S, **options) is None
    assert store.next_job(**options) is None
    clock.turn(LEASE_S + 1)  # both workers are gone: what nobody runs does not count
    again = [claim(store, **options) for _ in range(2)]
    assert sorted(job.owner for job in again) == ["ann", "bob"]
    assert store.claim_job(worker="w", lease_s=LEASE_S, **options) is None


def test_the_next_job_is_the_one_that_is_claimed_next(store: Store) -> None:
    assert store.next_job() is None
    for priority in (1, 3, 2):
        submitted(store, priority=priority)
    for _ in range(3):
        next_one = store.next_job()
        assert next_one is not None
        assert claim(store).id == next_one.id


@pytest.mark.parametrize("to", [JobState.QUEUED, JobState.PAUSED])
def test_a_job_is_given_back(store: Store, to: JobState) -> None:
    job = queued_job(store)
    claim(store)
    released = store.release_job(job.id, 1, to=to, message="the worker stops")  # type: ignore[arg-type]
    assert (released.state, released.message, released.worker, released.lease_until) == (
        to,
        "the worker stops",
        None,
        None,
    )
    assert released.num_deaths == 0
    if to is JobState.QUEUED:
        assert claim(store, "w2").attempt == 2


def test_deaths_in_a_row_are_counted_until_a_leg_is_recorded(store: Store, clock: TurnedClock) -> None:
    job = queued_job(store)
    record_plan(store, job.id)
    store.record_round(job.id, stage=0, round_number=0, trials=new_trials([0]), rungs=[2])
    claim(store)
    store.release_job(job.id, 1, died=True)
    assert claim(store).num_deaths == 1
    clock.turn(LEASE_S + 1)
    assert claim(store).num_deaths == 2
    leg = a_leg([0])
    store.fenced(job.id, 3).record_leg(job.id, leg, a_result(leg), "f")
    assert store.job(job.id).num_deaths == 0


def writes(store: Store, job_id: str) -> list[Callable[[], object]]:
    """All that is recorded of a job while it runs."""
    leg = a_leg([0, 1])
    return [
        lambda: record_plan(store, job_id),
        lambda: store.record_round(job_id, stage=0, round_number=1, trials=new_trials([2]), rungs=[2]),
        lambda: store.record_leg(job_id, leg, a_result(leg), "f"),
        lambda: store.stop_trials(job_id, [0]),
        lambda: store.record_stage_outcome(job_id, 0, {}),
        lambda: store.record_probe(job_id, leg, a_result(a_leg([0])), "f"),
        lambda: store.claim_test_read(job_id, 0),
        lambda: store.record_test_metrics(job_id, {}),
        lambda: store.record_export(job_id, 0, "/x"),
        lambda: store.start_job(job_id),
        lambda: store.finish_job(job_id, best_trial=0, result={}),
        lambda: store.fail_job(job_id, "x"),
        lambda: store.cancel_job(job_id),
        lambda: store.pause_job(job_id),
    ]


def everything_of(store: Store, job_id: str) -> tuple:
    return store.job(job_id), store.trials(job_id), store.stages(job_id), store.events(job_id)


@pytest.mark.parametrize("what", ["taken over", "given back", "cancelled"])
def test_an_attempt_that_is_over_records_nothing(store: Store, clock: TurnedClock, what: str) -> None:
    """Whatever a worker does that lost its job, or gave it away: the store stays as it was."""
    job = queued_job(store)
    fenced = store.fenced(job.id, claim(store).attempt)
    record_plan(fenced, job.id)
    fenced.record_round(job.id, stage=0, round_number=0, trials=new_trials(range(2)), rungs=[2])
    clock.turn(LEASE_S + 1)
    match what:
        case "taken over":
            claim(store, "w2")
        case "given back":
            store.release_job(job.id, 1)
        case "cancelled":
            store.ask_for(job.id, Wish.CANCEL)
    before = everything_of(store, job.id)
    for write in writes(fenced, job.id):
        with pytest.raises(LeaseLostError, match="got attempt 1 of job"):
            write()
    if what == "taken over":
        for write in (
            lambda: fenced.add_active_time(job.id, 1.0),
            lambda: fenced.record_tracked(job.id, []),
            lambda: fenced.forget_tracked(job.id),
        ):
            with pytest.raises(LeaseLostError, match="got attempt 1 of job"):
                write()
    assert everything_of(store, job.id) == before


def test_a_fenced_store_writes_time_and_tracking_behind_the_end(store: Store) -> None:
    job = queued_job(store)
    fenced = store.fenced(job.id, claim(store).attempt)
    fenced.finish_job(job.id, best_trial=None, result={})
    fenced.add_active_time(job.id, 2.5)
    fenced.record_tracked(job.id, [])
    assert store.job(job.id).active_s == 2.5
    with pytest.raises(LeaseLostError, match="which is completed at attempt 1"):
        fenced.pause_job(job.id)


def test_a_fence_is_of_one_job_and_closes_nothing(store: Store) -> None:
    job, other = queued_job(store), queued_job(store)
    with store.fenced(job.id, 7) as fenced:
        assert fenced.pause_job(other.id).state == JobState.PAUSED
        with pytest.raises(LeaseLostError):
            fenced.pause_job(job.id)
    assert store.job(other.id).state == JobState.PAUSED


@pytest.mark.parametrize(("wish", "state"), [(Wish.PAUSE, JobState.PAUSED), (Wish.CANCEL, JobState.CANCELLED)])
def test_a_job_that_nobody_runs_moves_at_once(store: Store, wish: Wish, state: JobState) -> None:
    job = queued_job(store)
    assert store.ask_for(job.id, wish).state == state
    assert store.ask_for(job.id, wish).state == state  # what is so already stays so
    assert store.claim_job(worker="w", lease_s=LEASE_S) is None


def test_a_running_job_gets_the_wish(store: Store) -> None:
    job = queued_job(store)
    claim(store)
    asked = store.ask_for(job.id, Wish.PAUSE)
    assert (asked.state, asked.wish) == (JobState.RUNNING, Wish.PAUSE)
    assert store.renew_lease(job.id, 1, LEASE_S).wish is Wish.PAUSE
    paused = store.fenced(job.id, 1).pause_job(job.id, "as asked")
    assert (paused.state, paused.wish, paused.worker, paused.lease_until) == (JobState.PAUSED, None, None, None)


def test_to_cancel_goes_before_to_pause_and_that_before_to_preempt(store: Store) -> None:
    job = queued_job(store)
    claim(store)
    asked = [Wish.PREEMPT, Wish.PAUSE, Wish.PREEMPT, Wish.CANCEL, Wish.PAUSE]
    then = [store.ask_for(job.id, wish).wish for wish in asked]
    assert then == [Wish.PREEMPT, Wish.PAUSE, Wish.PAUSE, Wish.CANCEL, Wish.CANCEL]


@pytest.mark.parametrize(
    ("wish", "state"),
    [(Wish.PAUSE, JobState.PAUSED), (Wish.CANCEL, JobState.CANCELLED), (Wish.PREEMPT, JobState.QUEUED)],
)
def test_a_job_whose_worker_is_gone_moves_at_once(
    store: Store, clock: TurnedClock, wish: Wish, state: JobState
) -> None:
    job = queued_job(store)
    claim(store)
    clock.turn(LEASE_S + 1)
    assert store.ask_for(job.id, wish).state == state


@pytest.mark.parametrize(("wish", "state"), [(Wish.PAUSE, JobState.PAUSED), (Wish.CANCEL, JobState.CANCELLED)])
def test_a_wish_outlives_the_worker(store: Store, clock: TurnedClock, wish: Wish, state: JobState) -> None:
    """Who asked for a pause does not see the job run on because its worker died first."""
    job = queued_job(store)
    claim(store)
    store.ask_for(job.id, wish)
    clock.turn(LEASE_S + 1)
    assert store.claim_job(worker="w2", lease_s=LEASE_S) is None
    found = store.job(job.id)
    assert (found.state, found.wish, found.message) == (state, None, "its worker is gone")


def test_a_preempted_job_whose_worker_died_is_claimed_again(store: Store, clock: TurnedClock) -> None:
    job = queued_job(store)
    claim(store)
    store.ask_for(job.id, Wish.PREEMPT)
    clock.turn(LEASE_S + 1)
    assert (claim(store, "w2").id, store.job(job.id).wish) == (job.id, None)


def test_a_run_without_a_server_cannot_be_asked(store: Store) -> None:
    job = queued_job(store)
    store.start_job(job.id)
    with pytest.raises(ConflictError, match=r"got pause for job .*run without a server: press Ctrl-C there"):
        store.ask_for(job.id, Wish.PAUSE)


def test_what_has_ended_cannot_be_asked(store: Store) -> None:
    job = queued_job(store)
    store.start_job(job.id)
    store.finish_job(job.id, best_trial=None, result={})
    with pytest.raises(ConflictError, match=r"a completed job cannot become cancelled"):
        store.ask_for(job.id, Wish.CANCEL)
    with pytest.raises(ConflictError, match=r"a completed job cannot become queued"):
        store.resume_job(job.id)
    with pytest.raises(ConflictError, match=r"priority is for a job that may still run.*is completed"):
        store.set_priority(job.id, 1)
    with pytest.raises(NotFoundError, match="no job has the id 'nothing'"):
        store.ask_for("nothing", Wish.PAUSE)


def test_a_paused_and_a_failed_job_are_queued_again(store: Store) -> None:
    job = queued_job(store)
    store.ask_for(job.id, Wish.PAUSE)
    assert store.resume_job(job.id).state == JobState.QUEUED
    claim(store)
    store.fenced(job.id, 1).fail_job(job.id, "no space")
    again = store.resume_job(job.id)
    assert (again.state, again.message, again.ended_at) == (JobState.QUEUED, None, None)
    assert store.resume_job(job.id) == again
    assert claim(store).attempt == 2


def test_to_resume_takes_a_pause_back_but_not_the_end(store: Store) -> None:
    job = queued_job(store)
    claim(store)
    store.ask_for(job.id, Wish.PAUSE)
    assert store.resume_job(job.id).wish is None
    store.ask_for(job.id, Wish.CANCEL)
    with pytest.raises(ConflictError, match="being cancelled does not go on"):
        store.resume_job(job.id)


def test_cancelling_ends_the_trials(store: Store) -> None:
    job = queued_job(store)
    record_plan(store, job.id)
    store.record_round(job.id, stage=0, round_number=0, trials=new_trials(range(2)), rungs=[2])
    store.ask_for(job.id, Wish.CANCEL)
    assert {trial.state for trial in store.trials(job.id)} == {TrialState.CANCELLED}


def test_a_new_priority_changes_the_order(store: Store) -> None:
    first, second = queued_job(store), queued_job(store)
    assert store.set_priority(second.id, 1).priority == 1
    assert [claim(store).id for _ in range(2)] == [second.id, first.id]


def test_the_same_request_makes_one_job(store: Store) -> None:
    key = {"owner": "ann", "idempotency_key": "k", "request_hash": "h"}
    first = store.submit_job(name="a", spec={}, spec_fingerprint="f", base_dir="/", seed=0, **key)  # type: ignore[arg-type]
    again = store.submit_job(name="a", spec={}, spec_fingerprint="f", base_dir="/", seed=0, **key)  # type: ignore[arg-type]
    assert (first.is_new, again.is_new, again.job) == (True, False, first.job)
    assert store.find_job_by_key("ann", "k") == first.job
    assert store.find_job_by_key("bob", "k") is None
    assert submitted(store, **(key | {"owner": "bob"})).id != first.job.id
    with pytest.raises(IdempotencyConflictError, match=rf"another one for 'k', which made job {first.job.id}"):
        submitted(store, **(key | {"request_hash": "other"}))
    assert submitted(store).id != submitted(store).id  # no key, no memory


@pytest.mark.parametrize(("field", "value"), [("owner", "x" * 101), ("owner", ""), ("idempotency_key", "x" * 201)])
def test_texts_fit_their_columns(store: Store, field: str, value: str) -> None:
    with pytest.raises(InvalidSpecError, match=rf"{field}: it must have 1 to .* got {len(value)}"):
        submitted(store, **{field: value})


def test_changes_that_somebody_asked_for_are_in_the_audit(store: Store) -> None:
    ann = Actor(owner="ann", token_id="t1")
    job = submitted(store, owner="ann", by=ann)
    store.set_priority(job.id, 2, by=ann)
    store.set_priority(job.id, 2, by=ann)  # changes nothing
    store.ask_for(job.id, Wish.PAUSE, by=ann)
    store.resume_job(job.id, by=ann)
    store.ask_for(job.id, Wish.CANCEL, by=Actor(owner="root"))
    with pytest.raises(ConflictError):
        store.resume_job(job.id, by=ann)  # refused: not on record
    found = [(one.owner, one.token_id, one.action, one.job_id) for one in store.audit()]
    assert found == [
        ("root", None, "job.cancel", job.id),
        ("ann", "t1", "job.resume", job.id),
        ("ann", "t1", "job.pause", job.id),
        ("ann", "t1", "job.priority", job.id),
        ("ann", "t1", "job.submit", job.id),
    ]
