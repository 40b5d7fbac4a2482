"""A seeded store is a store like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from benchmarks.service.seed import seed_store
from benchmarks.service.store_times import measure_store
from service.store import JobState, Store, sqlite_url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        sqlite_url(tmp_path / "store.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )


def test_a_store_is_filled_as_asked(url: str) -> None:
    seeded = seed_store(url, num_jobs=400, num_measurements=30_000)
    assert (seeded.num_jobs, seeded.num_measurements) == (400, 30_000)
    with Store.open(url) as store:
        assert all(store.num_jobs()[state] > 0 for state in JobState)
        job = store.job(seeded.large_job)
        trials = store.trials(job.id)
        assert (job.state, len(trials)) == (JobState.COMPLETED, 100)
        measured = store.measurements_of(job.id, [trial.number for trial in trials])
        assert [len(measured[trial.number]) for trial in trials] == [trial.epochs for trial in trials]
        assert [event.number for event in store.events(job.id)] == list(range(job.num_events))
        assert len(store.stages(job.id)) == 9
        claimed = store.claim_job(worker="w", lease_s=60)
        assert claimed is not None
        assert (
            store.fenced(claimed.id, claimed.attempt).fail_job(claimed.id, "x").num_events
            == claimed.num_events + 1
        )
    engine = create_engine(url)
    with engine.connect() as connection:
        left = "SELECT count(*) FROM measurements"
        assert connection.execute(text(left)).scalar_one() == 30_000
    engine.dispose()


def test_every_operation_is_timed(url: str) -> None:
    seeded = seed_store(url, num_jobs=300, num_measurements=20_000)
    times = measure_store(url, seeded, repeats=2)
    assert len(times) > 25
    for took in times.values():
        assert 0 < took["p50_ms"] <= took["p99_ms"]
