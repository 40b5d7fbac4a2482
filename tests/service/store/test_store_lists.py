"""Pages of jobs, compared with the same filter and sort over a plain list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from story import a_leg, a_result, queued_job, running_job

from service.errors import InvalidSpecError, NotFoundError
from service.store import JobRecord, JobSort, JobState, JobSummary, Store, Tally, Wish, job_cursor

SORTS: tuple[JobSort, ...] = ("created", "updated", "priority")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """24 jobs of two owners in three states, with priorities and moments that repeat."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    if request.param == "sqlite":
        url, end = f"sqlite:///{tmp_path_factory.mktemp('lists')}/store.db", None
    else:
        end = request.getfixturevalue("postgres_server").database()
        url = end.__enter__()
    with Store.open(url, clock=lambda: now) as store:
        for number, (owner, state, priority) in enumerate(product("ab", range(3), range(4))):
            now += timedelta(milliseconds=1)
            values = {"spec": {"n": number}, "spec_fingerprint": "f", "base_dir": "/", "seed": number}
            name = f"job-{number % 3}"
            job = store.create_job(name=name, owner=owner, priority=priority // 2, **values)  # type: ignore[arg-type]
            now += timedelta(seconds=number % 5)
            if state:
                store.ask_for(job.id, Wish.PAUSE if state == 1 else Wish.CANCEL)
        yield store
    if end is not None:
        end.__exit__(None, None, None)


def key(job: JobSummary, sort: JobSort) -> tuple:
    return {"created": (job.id,), "updated": (job.updated_at, job.id), "priority": (job.priority, job.id)}[sort]


FILTERS = st.fixed_dictionaries(
    {
        "sort": st.sampled_from(SORTS),
        "descending": st.booleans(),
        "owner": st.sampled_from([None, "a", "b", "nobody"]),
        "states": st.none() | st.sets(st.sampled_from(list(JobState)), max_size=3).map(sorted),
        "name": st.sampled_from([None, "job-1"]),
    }
)


def is_wanted(job: JobRecord, asked: dict) -> bool:
    return (
        asked["owner"] in (None, job.owner)
        and (asked["states"] is None or job.state in asked["states"])
        and asked["name"] in (None, job.name)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(asked=FILTERS, limit=st.integers(1, 25))
def test_pages_give_each_job_once_and_in_order(filled: Store, asked: dict, limit: int) -> None:
    everything = filled.jobs(limit=1000)
    assert len(everything) == 24
    wanted = [job for job in everything if is_wanted(job, asked)]
    wanted.sort(key=lambda job: key(job, asked["sort"]), reverse=asked["descending"])
    jobs: list[JobRecord] = []
    rows: list[JobSummary] = []
    cursor: str | None = None
    while True:
        page = filled.jobs(limit=limit, after=cursor, **asked)
        rows += filled.job_rows(limit=limit, after=cursor, **asked)
        jobs += page
        if len(page) < limit:
            break
        cursor = job_cursor(page[-1], asked["sort"])
    assert jobs == wanted
    assert [row.id for row in rows] == [job.id for job in wanted]
    for row, job in zip(rows, jobs, strict=True):
        assert all(getattr(job, name) == getattr(row, name) for name in vars(row))


PAGES: list[dict] = [
    {},
    {"owner": "a"},
    {"state": JobState.PAUSED},
    {"owner": "a", "state": JobState.PAUSED},
    {"name": "job-1"},
    {"sort": "updated"},
    {"sort": "updated", "owner": "a"},
    {"sort": "priority"},
    {"sort": "priority", "descending": False},
    {"sort": "priority", "owner": "a"},
]


@pytest.mark.parametrize("asked", PAGES, ids=str)
@pytest.mark.parametrize("is_deep", [False, True], ids=["first", "deep"])
def test_a_page_is_read_from_an_index_in_its_order(filled: Store, asked: dict, is_deep: bool) -> None:
    """No table is walked through and nothing is sorted, however many jobs there are."""
    cursor = job_cursor(filled.jobs(limit=5)[-1], asked.get("sort", "created")) if is_deep else None
    plan = plan_of(filled, lambda: filled.job_rows(limit=3, after=cursor, **asked))
    assert "ix_jobs_" in plan or "pk_jobs" in plan or "sqlite_autoindex_jobs" in plan
    assert not re.search(r"TEMP B-TREE|Seq Scan|Bitmap|Sort|SCAN jobs$", plan, re.MULTILINE), plan


def plan_of(store: Store, ask: Callable[[], object]) -> str:
    """How the database carries out the last statement of a question, when its tables were large."""
    asked: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:  # connection, cursor, statement, parameters, ...
        asked.append((given[2], given[3]))

    event.listen(store._engine, "before_cursor_execute", note)
    ask()
    event.remove(store._engine, "before_cursor_execute", note)
    statement, parameters = asked[-1]
    with store._reading() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":  # which walks through a table of 24 rows if it may
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
            rows = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
            return "\n".join(row[0] for row in rows)
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row[3] for row in rows)


def test_a_job_is_found_by_a_range_of_ids(filled: Store) -> None:
    plan = plan_of(filled, lambda: filled.job(filled.jobs(limit=1)[0].id[:12]))
    assert re.search(r"id>\? AND id<\?|Index Cond: \(+\(id\)::text >=", plan), plan


def test_jobs_are_counted_by_state(filled: Store) -> None:
    counted = filled.num_jobs()
    assert counted == dict.fromkeys(JobState, 0) | {
        JobState.QUEUED: 8,
        JobState.PAUSED: 8,
        JobState.CANCELLED: 8,
    }
    assert filled.num_jobs(owner="a")[JobState.PAUSED] == 4


@pytest.mark.parametrize("sort", ["updated", "priority"])
@pytest.mark.parametrize("cursor", ["", "nonsense", "~", "x~0abc", "2026-01-01~0abc"])
def test_a_cursor_comes_from_the_page_before(store: Store, sort: JobSort, cursor: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"cursor: .*sorted in the same way.*start at the first page"):
        store.jobs(sort=sort, after=cursor)


def test_a_job_of_another_owner_is_not_found(store: Store) -> None:
    job = queued_job(store)
    assert store.job(job.id[:6], owner="local") == job
    for text in (job.id, job.id[:6]):
        with pytest.raises(NotFoundError, match=f"no job has the id '{text}'"):
            store.job(text, owner="ann")


def test_what_several_jobs_have_come_to_is_counted_at_once(store: Store) -> None:
    fresh, run = queued_job(store), running_job(store)
    for numbers, start, end in (([0, 1], 0, 2), ([0], 2, 6)):
        leg = a_leg(numbers, start=start, end=end)
        store.record_leg(run.id, leg, a_result(leg), "f")
    assert store.tallies([fresh.id, run.id]) == {fresh.id: Tally(), run.id: Tally(num_trials=3, num_epochs=8)}
    store.finish_job(run.id, best_trial=0, result={})
    assert store.tallies([run.id])[run.id].best_value == store.trial(run.id, 0).best_value is not None
    assert store.tallies([]) == {}


def test_the_measurements_of_several_trials_come_at_once(store: Store) -> None:
    job = running_job(store)
    for numbers, start, end in (([0, 1], 0, 2), ([0], 2, 6)):
        leg = a_leg(numbers, start=start, end=end)
        store.record_leg(job.id, leg, a_result(leg), "f")
    found = store.measurements_of(job.id, [2, 0, 1])
    assert found == {number: store.measurements(job.id, number) for number in range(3)}
    assert [len(found[number]) for number in range(3)] == [6, 2, 0]
    assert store.measurements_of(job.id, []) == {}
