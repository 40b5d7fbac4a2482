"""How long the store takes for what a server asks of it, on a store that is full.

    python -m benchmarks.service.store_times

Every figure is of one thread that asks again and again, in milliseconds: the store's part of a request. Beside the
time on the clock stands that of this process alone, which other programs on the machine do not change.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.service.load import percentile
from benchmarks.service.seed import OWNERS, Seeded, seed_store
from benchmarks.service.servers import postgres
from service.store import JobSort, JobState, Role, Store, Wish, job_cursor, sqlite_url

_REPEATS = 200


def measure_store(url: str, seeded: Seeded, *, repeats: int = _REPEATS) -> dict[str, dict[str, float]]:
    """Time what a server asks of a store that `seed_store` filled.

    Returns:
        By operation: `p50_ms` and `p99_ms` on the clock, `own_ms` of this process on average.
    """
    with Store.open(url) as store:
        return {name: _times(ask, repeats) for name, ask in _operations(store, seeded)}


def _times(ask: Callable[[], Any], repeats: int) -> dict[str, float]:
    ask()  # connection and statement caches
    took, own = [], time.process_time()
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    own = (time.process_time() - own) * 1000 / repeats
    return {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99), "own_ms": own}


def _operations(store: Store, seeded: Seeded) -> Iterator[tuple[str, Callable[[], Any]]]:
    rng = random.Random(0)
    page = store.job_rows(limit=200)
    ids = [job.id for job in page]
    deep = _cursors(store, 9000)
    spec = store.job(ids[0]).spec
    queued = [job.id for job in store.job_rows(state=JobState.QUEUED, limit=200)]
    large = seeded.large_job
    yield "show a job", lambda: store.job(rng.choice(ids))
    yield "show a job by a prefix", lambda: store.job(rng.choice(ids)[:11])
    yield "list, first page", lambda: store.job_rows(limit=50)
    yield "list, first page with documents", lambda: store.jobs(limit=50)
    yield "tallies of 50 jobs", lambda: store.tallies([job.id for job in store.job_rows(limit=50)])
    yield "list, deep page", lambda: store.job_rows(limit=50, after=deep["created"])
    for state in (JobState.RUNNING, JobState.QUEUED, JobState.COMPLETED):
        yield f"list, {state}", partial(store.job_rows, limit=50, state=state)
    both = (JobState.QUEUED, JobState.RUNNING)
    yield "list, queued and running", lambda: store.job_rows(limit=50, states=both)
    yield "list, of an owner", lambda: store.job_rows(limit=50, owner=rng.choice(OWNERS))
    yield "list, failed of an owner", lambda: store.job_rows(limit=50, owner=OWNERS[-1], state=JobState.FAILED)
    yield "list, queued or running of an owner", lambda: store.job_rows(limit=50, owner=OWNERS[-1], states=both)
    yield "list, of a name", lambda: store.job_rows(limit=50, name="digits-7")
    yield "list, updated", lambda: store.job_rows(limit=50, sort="updated")
    yield "list, updated, deep page", lambda: store.job_rows(limit=50, sort="updated", after=deep["updated"])
    yield "list, updated of an owner", lambda: store.job_rows(limit=50, sort="updated", owner=OWNERS[0])
    yield (
        "list, updated, running",
        lambda: store.job_rows(limit=50, sort="updated", state=JobState.RUNNING),
    )
    yield "list, priority", lambda: store.job_rows(limit=50, sort="priority")
    yield "list, priority, deep page", lambda: store.job_rows(limit=50, sort="priority", after=deep["priority"])
    yield "list, priority, queued", lambda: store.job_rows(limit=50, sort="priority", state=JobState.QUEUED)
    yield "list, priority of an owner", lambda: store.job_rows(limit=50, sort="priority", owner=OWNERS[0])
    yield "count by state", store.num_jobs
    yield "trials, page of 50", lambda: store.trials(large, after=30, limit=50)
    yield "trials, page of 50 with 1500 measurements", lambda: _trials_page(store, large)
    yield "events, page of 100", lambda: store.events(large, limit=100)
    yield "events, nothing new", lambda: store.events(large, after=1000)
    yield "count the events of 100 jobs", lambda: store.num_events(ids[:100])
    _, secret = store.create_token("bench", "ann", Role.VIEWER)
    yield "authenticate", lambda: store.authenticate(secret)
    keys = iter(range(10**9))
    yield "submit", lambda: _submit(store, spec, f"{time.time_ns()}-{next(keys)}")
    yield "set a priority", lambda: store.set_priority(rng.choice(queued), rng.randrange(1000))
    yield "pause and resume", lambda: _pause_and_resume(store, rng.choice(queued))
    yield "next job", store.next_job
    yield "claim, renew, release", lambda: _claim(store)


def _cursors(store: Store, depth: int) -> dict[str, str]:
    """Walk to a place deep in the list, in each order."""
    found: dict[str, str] = {}
    sorts: tuple[JobSort, ...] = ("created", "updated", "priority")
    for sort in sorts:
        cursor, seen = None, 0
        while seen < depth:
            page = store.job_rows(limit=1000, after=cursor, sort=sort)
            if not page:
                break
            seen += len(page)
            cursor = job_cursor(page[-1], sort)
        assert cursor is not None
        found[sort] = cursor
    return found


def _trials_page(store: Store, job_id: str) -> None:
    trials = store.trials(job_id, after=30, limit=50)
    store.measurements_of(job_id, [trial.number for trial in trials])


def _submit(store: Store, spec: Any, key: str) -> None:
    store.submit_job(
        name="bench",
        spec=spec,
        spec_fingerprint="f" * 64,
        base_dir="/data",
        seed=0,
        owner="ann",
        idempotency_key=key,
        request_hash="h" * 64,
    )


def _pause_and_resume(store: Store, job_id: str) -> None:
    store.ask_for(job_id, Wish.PAUSE)
    store.resume_job(job_id)


def _claim(store: Store) -> None:
    job = store.claim_job(worker="bench", lease_s=60)
    assert job is not None
    store.renew_lease(job.id, job.attempt, 60)
    store.release_job(job.id, job.attempt)


def main() -> None:
    """Fill a store on each database, time it, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service.store_times")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--measurements", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=_REPEATS, help="of every operation")
    parser.add_argument("--json", action="store_true", help="one line of JSON in the place of tables")
    chosen = parser.parse_args()
    for name in ("sqlite", "postgres"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuneladder-bench-")))
            url = sqlite_url(folder / "store.db")
            if name == "postgres":
                url = stack.enter_context(postgres(folder / "postgres"))
            seeded = seed_store(url, num_jobs=chosen.jobs, num_measurements=chosen.measurements)
            times = measure_store(url, seeded, repeats=chosen.repeats)
        if chosen.json:
            print(json.dumps({name: times}))
            continue
        print(f"{name}, filled in {seeded.wall_s:.0f} s{'p50 ms':>30}{'p99 ms':>9}{'own ms':>9}")
        for operation, took in times.items():
            print(f"{operation:42}{took['p50_ms']:9.2f}{took['p99_ms']:9.2f}{took['own_ms']:9.2f}")


if __name__ == "__main__":
    main()
