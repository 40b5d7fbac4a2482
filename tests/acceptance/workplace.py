"""A store with jobs in it and workers at it, as processes; what they must have done is read from the record."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from product import Product, Started, wait_until

from service.documents import parse_spec
from service.store import EventRecord, JobRecord, JobState, Store

TINY: dict[str, Any] = {
    "family": "mlp",
    "data": {"name": "wine"},
    "search": {"strategy": "random", "candidates": 2, "rungs": {"min_epochs": 1, "reduction_factor": 2}},
    "budget": {"epochs": 4, "max_epochs_per_trial": 2},
    "checks": {"overfit": False},
}


@dataclass
class Workplace:
    """One store, one home, and the workers of a test."""

    product: Product
    store: Store
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    def submit(self, spec: Mapping[str, Any], *, owner: str = "local", priority: int = 0) -> str:
        """Queue a job and give its id."""
        parsed = parse_spec(dict(spec), folder=self.product.folder)
        job = self.store.create_job(
            name=parsed.name,
            spec=parsed.model_dump(mode="json"),
            spec_fingerprint=parsed.fingerprint(),
            base_dir=str(self.product.folder),
            seed=parsed.seed,
            owner=owner,
            priority=priority,
        )
        return job.id

    def worker(self, name: str = "anna", **settings: str | int | float) -> Started:
        """Start a worker that trains in its children; what it starts ends with the test."""
        given = {"engine": "local", "poll_s": 0.1, "lease_s": 6, **self.settings, **settings}
        self.product.environment |= {
            "TUNELADDER_DATABASE_URL": self.store.url,
            "TUNELADDER_WORKER_NAME": name,
            **{f"TUNELADDER_{key.upper()}": str(value) for key, value in given.items()},
        }
        return self.product.start("worker", "--home", self.home)

    def put_to_sleep(self, worker: Started) -> list[psutil.Process]:
        """Stop a worker and its children where they stand, though not in a write to a SQLite file.

        Whoever sleeps there keeps everybody from writing. PostgreSQL ends such a transaction by itself.
        """
        while True:
            tree = worker.tree()
            for process in tree:
                process.suspend()
            if self._can_be_written():
                return tree
            for process in tree:
                process.resume()

    def _can_be_written(self) -> bool:
        with closing(sqlite3.connect(self.home / "tuneladder.db", timeout=0)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def job(self, job_id: str) -> JobRecord:
        return self.store.job(job_id)

    def is_leased(self, job_id: str) -> bool:
        """Some worker may go on with it."""
        until = self.job(job_id).lease_until
        return until is not None and until > datetime.now(UTC)

    def wait_for_state(self, job_id: str, *states: JobState, worker: Started | None = None) -> JobRecord:
        wait_until(
            lambda: self.job(job_id).state in states, what=f"{job_id} is {' or '.join(states)}", process=worker
        )
        return self.job(job_id)

    def wait_for_legs(self, job_id: str, number: int, *, worker: Started | None = None) -> None:
        wait_until(lambda: len(self.store.legs(job_id)) >= number, what=f"{number} legs on record", process=worker)

    def legs(self, job_id: str) -> set[Any]:
        """What was trained when and where; a leg that is trained again changes it."""
        return set(self.store.legs(job_id))

    def log(self, job_id: str) -> str:
        return (self.home / "jobs" / job_id / "log").read_text()

    def story(self, job_id: str) -> dict[str, Any]:
        """What must be the same in every run of a spec, whoever disturbed it."""
        store, job = self.store, self.job(job_id)
        trials = store.trials(job_id)
        read = store.test_read(job_id)
        return {
            "job": (job.state, job.best_trial, job.metric, job.data_fingerprint),
            "stages": [(s.number, s.name, s.state, s.outcome) for s in store.stages(job_id)],
            "rounds": [(r.number, r.stage, r.rungs) for r in store.rounds(job_id)],
            "trials": [
                (t.number, t.stage, t.params, t.seed, t.state, t.epochs, t.best_epoch, t.best_value)
                for t in trials
            ],
            "legs": sorted((leg.key, leg.end_epoch, leg.fingerprint) for leg in store.legs(job_id)),
            "measurements": [
                (t.number, m.epoch, m.metrics) for t in trials for m in store.measurements(job_id, t.number)
            ],
            "test": read and (read.trial, read.metrics),
        }

    def moves(self, job_id: str) -> list[EventRecord]:
        """The events of the job as a whole."""
        return [event for event in self.store.events(job_id, limit=10_000) if event.kind == "job"]

    def story_of_states(self, job_id: str) -> list[str]:
        """The states that a job went through, from its events."""
        states: list[str] = []
        for event in self.moves(job_id):
            if states[-1:] != [event.data["state"]]:
                states.append(event.data["state"])
        return states

    def assert_each_leg_was_recorded_once(self, job_id: str) -> None:
        keys = [event.data["key"] for event in self.store.events(job_id, limit=10_000) if event.kind == "leg"]
        assert len(keys) == len(set(keys))
        assert set(keys) == {leg.key for leg in self.store.legs(job_id)}


def child_of(worker: Started, what: str) -> psutil.Process:
    """Find the process that a worker has a job in: it writes to the job's log."""

    def find() -> psutil.Process | None:
        for process in worker.tree():
            try:
                if process.pid != worker.popen.pid and Path(f"/proc/{process.pid}/fd/2").readlink().name == "log":
                    return process
            except (OSError, psutil.Error):
                continue
        return None

    wait_until(lambda: find() is not None, what=what, process=worker)
    found = find()
    assert found is not None, f"ended before it was looked at: {what}"
    return found


def ask_to_end(worker: Started) -> None:
    worker.popen.send_signal(signal.SIGTERM)
