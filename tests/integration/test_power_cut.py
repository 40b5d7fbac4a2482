"""A job whose machine is switched off at any of its writes ends, run again, like one that was left alone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event

from service.documents import parse_spec
from service.embedded import run_job
from service.seats import RunOptions
from service.store import JobRecord

LOCAL = RunOptions(engine="local")
SPEC = parse_spec(
    {
        "family": "mlp",
        "data": {"name": "wine"},
        "search": {"rungs": {"min_epochs": 1, "reduction_factor": 2}, "candidates": 3},
        "budget": {"epochs": 16, "max_epochs_per_trial": 2},
    }
)
STORY = (
    "SELECT number, stage, round, params, seed, state, epochs, best_epoch, best_value, num_legs FROM trials",
    "SELECT key, fingerprint, start_epoch, end_epoch FROM legs",
    "SELECT trial, epoch, metrics FROM measurements",
    "SELECT number, state, outcome FROM stages",
    "SELECT trial, metrics FROM test_reads",
    "SELECT state, best_trial, message FROM jobs",
)


class PowerCutError(BaseException):
    """The machine is off."""


@contextmanager
def power_cut(at_commit: int) -> Iterator[list[int]]:
    """Lose this transaction of the main thread, and everything that it would write later."""
    commits = [0]

    def count(connection: Connection) -> None:
        if threading.current_thread() is threading.main_thread():
            commits[0] += 1
            if commits[0] >= at_commit:
                raise PowerCutError

    event.listen(Engine, "commit", count)
    try:
        yield commits
    finally:
        event.remove(Engine, "commit", count)


def read(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home / 'tuneladder.db'}?mode=ro", uri=True)) as connection:
        return sorted(connection.execute(query), key=repr)


def essence(job: JobRecord) -> dict[str, Any]:
    assert job.result is not None
    return {name: job.result[name] for name in ("num_trials", "num_epochs", "best", "test")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The record, the result and the number of writes of a job that was left alone."""
    home = tmp_path_factory.mktemp("undisturbed")
    with power_cut(at_commit=10**9) as commits:
        job = run_job(SPEC, home=home, options=LOCAL)
    return {query: read(home, query) for query in STORY}, essence(job), commits[0]


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(share=st.floats(0, 1))
def test_a_power_cut_at_any_write_changes_nothing_in_the_end(
    share: float, undisturbed: tuple[dict[str, Any], dict[str, Any], int]
) -> None:
    story, result, num_commits = undisturbed
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with power_cut(at_commit=1 + int(share * (num_commits - 1))), pytest.raises(PowerCutError):
            run_job(SPEC, home=home, options=LOCAL)
        legs = read(home, "SELECT key, recorded_at, wall_s FROM legs") if _has_legs(home) else []

        job = run_job(SPEC, home=home, options=LOCAL)

        assert essence(job) == result
        assert {query: read(home, query) for query in STORY} == story
        assert set(legs) <= set(read(home, "SELECT key, recorded_at, wall_s FROM legs"))


def _has_legs(home: Path) -> bool:
    if not (home / "tuneladder.db").exists():
        return False
    return bool(read(home, "SELECT 1 FROM sqlite_master WHERE name = 'legs'"))
