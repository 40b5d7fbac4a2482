"""Which running job gives way, whatever waits and runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.store import JobState, JobSummary, Wish
from service.worker.preemption import choose_job_to_preempt

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(
    name: str, *, priority: int = 0, owner: str = "ann", started: int = 0, wish: Wish | None = None
) -> JobSummary:
    return JobSummary(
        id=name,
        name=name,
        state=JobState.RUNNING,
        owner=owner,
        priority=priority,
        seed=0,
        metric=None,
        mode=None,
        message=None,
        wish=wish,
        worker="anna",
        lease_until=NOON,
        attempt=1,
        num_deaths=0,
        num_events=0,
        created_at=NOON,
        started_at=NOON + timedelta(seconds=started),
        ended_at=None,
        updated_at=NOON,
        active_s=0.0,
        best_trial=None,
    )


def test_the_job_of_lowest_priority_gives_way_and_among_equals_the_one_that_started_last() -> None:
    running = [job("a", started=1), job("b", started=3), job("c", started=2), job("d", priority=1, started=9)]
    chosen = choose_job_to_preempt([job("new", priority=2)], running)
    assert chosen is not None
    assert chosen.id == "b"


def test_no_job_gives_way_to_one_that_is_not_more_important() -> None:
    assert choose_job_to_preempt([job("new", priority=1)], [job("a", priority=1), job("b", priority=2)]) is None
    assert choose_job_to_preempt([], [job("a")]) is None
    assert choose_job_to_preempt([job("new", priority=1)], []) is None


def test_a_job_that_is_about_to_leave_makes_room_for_one_that_waits() -> None:
    leaving = job("a", wish=Wish.PAUSE)
    assert choose_job_to_preempt([job("new", priority=9)], [leaving, job("b")]) is None
    chosen = choose_job_to_preempt([job("new", priority=9), job("newer", priority=8)], [leaving, job("b")])
    assert chosen is not None
    assert chosen.id == "b"


def test_the_jobs_of_others_do_not_give_way_to_one_whose_owner_is_at_the_limit() -> None:
    waiting = [job("new", priority=9, owner="bob")]
    running = [job("a"), job("b", priority=3, owner="bob")]
    chosen = choose_job_to_preempt(waiting, running, max_running_per_owner=1)
    assert chosen is not None
    assert chosen.id == "b"
    important = [job("a"), replace(running[1], priority=9)]
    assert choose_job_to_preempt(waiting, important, max_running_per_owner=1) is None


jobs = st.builds(
    job,
    name=st.uuids().map(str),
    priority=st.integers(-2, 2),
    owner=st.sampled_from(["ann", "bob"]),
    started=st.integers(0, 9),
    wish=st.sampled_from([None, *Wish]),
)


@given(waiting=st.lists(jobs, max_size=4), running=st.lists(jobs, max_size=6), limit=st.none() | st.integers(1, 3))
def test_whoever_gives_way_is_weaker_than_one_that_waits_and_was_not_asked_before(
    waiting: list[JobSummary], running: list[JobSummary], limit: int | None
) -> None:
    waiting.sort(key=lambda one: -one.priority)
    chosen = choose_job_to_preempt(waiting, running, max_running_per_owner=limit)
    num_leaving = sum(one.wish is not None for one in running)
    if chosen is None:
        return
    assert chosen.wish is None
    assert len(waiting) > num_leaving
    assert any(chosen.priority < one.priority for one in waiting[num_leaving:])
    stays = [one for one in running if one.wish is None]
    assert chosen.priority == min(one.priority for one in stays) or limit is not None
