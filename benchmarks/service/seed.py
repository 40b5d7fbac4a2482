"""Fill a store as a year of use would: 10,000 jobs with 1,000,000 measurements, in a minute or two.

Rows go in in bulk, past the store's methods: COPY on PostgreSQL, one transaction on SQLite. The guards and foreign
keys of the database stay on, so what comes out is a store like any other.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from service.documents import load_spec
from service.store import PostgresOptions, Store
from service.store.database import new_id
from service.store.engines import make_engine, to_json

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_mlp.yaml"
OWNERS = tuple(f"owner-{number:02d}" for number in range(20))
SPACING = timedelta(minutes=40)  # from one job to the next
LARGE_EVERY, LARGE_TRIALS, LARGE_EPOCHS = 100, 100, 30
EPOCHS = 10
# What becomes of 200 jobs in a row.
STATES: tuple[str, ...] = (
    *("completed",) * 130,
    *("failed",) * 26,
    *("cancelled",) * 20,
    *("paused",) * 14,
    *("queued",) * 9,
    "running",
)


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """What a store was filled with, and how long it took."""

    num_jobs: int
    num_trials: int
    num_measurements: int
    num_events: int
    wall_s: float
    large_job: str  # a completed job with LARGE_TRIALS trials


@dataclass(frozen=True, kw_only=True)
class Job:
    """One of the jobs to make."""

    id: str
    number: int
    created_at: datetime
    epochs: tuple[int, ...]  # of each trial

    @property
    def state(self) -> str:
        """Where it ends; large jobs have completed."""
        return "completed" if self.is_large else STATES[self.number * 37 % len(STATES)]

    @property
    def is_large(self) -> bool:
        """It has as many trials as a job over night."""
        return len(self.epochs) >= LARGE_TRIALS


def seed_store(url: str, *, num_jobs: int = 10_000, num_measurements: int = 1_000_000, seed: int = 0) -> Seeded:
    """Fill a store.

    Args:
        url: Of a store without jobs; it is made where there is none.
        num_jobs: Jobs of 20 owners, in all states, over `SPACING` each. Every 100th has 100 trials of 30 epochs.
        num_measurements: Spread over all jobs.
        seed: Of everything random.

    Returns:
        What was made.
    """
    began = time.monotonic()
    Store.open(url).close()
    options = PostgresOptions(statement_timeout_s=0)
    engine = make_engine(url, options).execution_options(writes=True)
    rng = random.Random(seed)
    jobs = _jobs(num_jobs, num_measurements)
    with engine.begin() as connection:
        counts = {
            table: _insert(connection, table, columns, rows)
            for table, columns, rows in (
                ("jobs", _JOB_COLUMNS, _job_rows(jobs, rng)),
                ("stages", ("job_id", "number", "name", "opens", "why", "state"), _stage_rows(jobs)),
                ("rounds", ("job_id", "number", "stage", "rungs"), ((j.id, 0, 0, "[3,10,30]") for j in jobs)),
                ("trials", _TRIAL_COLUMNS, _trial_rows(jobs, rng)),
                ("measurements", ("job_id", "trial", "epoch", "metrics", "measured_at"), _measured(jobs, rng)),
                ("events", ("job_id", "number", "at", "kind", "data"), _event_rows(jobs)),
            )
        }
        _move(connection, jobs)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Both databases do so on their own, minutes later: requests meet a store that was there before.
        connection.execute(text("ANALYZE"))
        if engine.dialect.name == "postgresql":  # SQLite does when its last connection is closed
            connection.execute(text("CHECKPOINT"))
    engine.dispose()
    return Seeded(
        num_jobs=counts["jobs"],
        num_trials=counts["trials"],
        num_measurements=counts["measurements"],
        num_events=counts["events"],
        wall_s=time.monotonic() - began,
        large_job=next(job.id for job in reversed(jobs) if job.is_large or num_jobs < LARGE_EVERY),
    )


def _jobs(num_jobs: int, num_measurements: int) -> list[Job]:
    """Decide which job has how many trials and epochs, so that the measurements add up."""
    last = datetime.now(UTC)
    large = (LARGE_EPOCHS,) * LARGE_TRIALS
    num_large = num_jobs // LARGE_EVERY
    share, more = divmod(num_measurements - num_large * sum(large), num_jobs - num_large)
    if share < 0:
        raise ValueError(f"{num_large} large jobs alone have {num_large * sum(large)} measurements")
    jobs, small = [], 0
    for number in range(num_jobs):
        is_large = num_large and number % LARGE_EVERY == LARGE_EVERY - 1
        whole, rest = divmod(share + (not is_large and small < more), EPOCHS)
        small += not is_large
        at = last - (num_jobs - number) * SPACING
        epochs = large if is_large else (EPOCHS,) * whole + ((rest,) if rest else ())
        jobs.append(Job(id=new_id(at), number=number, created_at=at, epochs=epochs))
    return jobs


_JOB_COLUMNS = (
    *("id", "name", "state", "spec", "spec_fingerprint", "base_dir", "seed", "data_fingerprint", "plan", "metric"),
    *("mode", "created_at", "started_at", "ended_at", "active_s", "best_trial", "result", "owner", "priority"),
    *("num_events", "updated_at", "attempt"),
)
_TRIAL_COLUMNS = (
    *("job_id", "number", "stage", "round", "params", "seed", "state", "epochs", "best_epoch", "best_value"),
    *("num_legs", "created_at", "ended_at"),
)


def _job_rows(jobs: Sequence[Job], rng: random.Random) -> Iterator[tuple[Any, ...]]:
    spec = load_spec(EXAMPLE).model_dump(mode="json")
    plan = to_json({"stages": [_stage(number) for number in range(9)], "num_trials": 120, "starts": []})
    best = {"params": _params(rng), "metrics": {f"val_metric_{n}": rng.random() for n in range(12)}, "epoch": 9}
    result = to_json({"best": best, "test": best["metrics"], "health": {str(n): ["slow"] for n in range(40)}})
    for job in jobs:
        name = f"digits-{job.number % 50}"
        started, ended = job.created_at + timedelta(seconds=5), job.created_at + timedelta(minutes=20)
        done = job.state == "completed"
        yield (
            *(job.id, name, "queued", to_json(spec | {"name": name, "seed": job.number})),
            *(f"{job.number:064x}", "/data", job.number, "d" * 64, plan, "val_accuracy", "max"),
            *(job.created_at, started, ended if job.state in {"completed", "failed", "cancelled"} else None),
            *(1195.0, 0 if done else None, result if done else None),
            *(OWNERS[int(len(OWNERS) * rng.random() ** 2)], rng.choice((0, 0, 0, 1, 5))),
            *(_num_events(job), ended, 1),
        )


def _stage(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "name": f"hyperparameter_{number}",
        "opens": [f"hyperparameter_{number}"],
        "why": "It matters next, and what was searched before it does not depend on its value. " * 2,
        "rungs": [3, 10, 30],
        "rounds": [{"candidates": 8, "epochs": 120, "cohorts": 8}],
    }


def _stage_rows(jobs: Sequence[Job]) -> Iterator[tuple[Any, ...]]:
    for job in jobs:
        for number in range(9):
            stage = _stage(number)
            yield job.id, number, stage["name"], to_json(stage["opens"]), stage["why"], "pending"


def _params(rng: random.Random) -> dict[str, Any]:
    return {
        **{"lr": 10 ** rng.uniform(-5, -1), "dropout": rng.random() / 2, "width": 2 ** rng.randrange(4, 10)},
        **{"batch_size": 32, "weight_decay": 10 ** rng.uniform(-6, -2), "optimizer": "adamw"},
    }


def _trial_rows(jobs: Sequence[Job], rng: random.Random) -> Iterator[tuple[Any, ...]]:
    some = [to_json(_params(rng)) for _ in range(500)]
    for job in jobs:
        for number, epochs in enumerate(job.epochs):
            ended = job.created_at + timedelta(minutes=1 + number / 10)
            yield (
                *(job.id, number, number % 9, 0, rng.choice(some), number, "pending", epochs, epochs),
                *(rng.random(), 2, job.created_at, ended),
            )


def _measured(jobs: Sequence[Job], rng: random.Random) -> Iterator[tuple[Any, ...]]:
    names = ("val_accuracy", "val_macro_f1", "val_loss", "train_loss", "lr", "grad_norm", "epoch_s")
    some = [to_json({name: rng.random() for name in names}) for _ in range(2000)]
    chosen = itertools.cycle(some)
    for job in jobs:
        for trial, epochs in enumerate(job.epochs):
            for epoch in range(1, epochs + 1):
                yield job.id, trial, epoch, next(chosen), job.created_at + timedelta(seconds=trial + epoch)


def _num_events(job: Job) -> int:
    return 4 + len(job.epochs)


def _event_rows(jobs: Sequence[Job]) -> Iterator[tuple[Any, ...]]:
    for job in jobs:
        for number in range(_num_events(job)):
            at = job.created_at + timedelta(seconds=number)
            if number < 2:
                state = "queued" if number == 0 else "running"
                yield job.id, number, at, "job", to_json({"state": state, "message": None, "priority": 0})
            else:
                member = {"trial": number, "state": "running", "epochs": 3, "value": 0.5}
                leg = {"key": f"r0000-e0003-c{number:02d}", "members": [member]}
                yield job.id, number, at, "leg", to_json(leg)


def _insert(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    names, count = ", ".join(columns), 0
    if connection.dialect.name == "postgresql":
        raw: Any = connection.connection.driver_connection
        with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
                count += 1
        return count
    holes = ", ".join("?" for _ in columns)
    statement = f"INSERT INTO {table} ({names}) VALUES ({holes})"
    waiting = iter(rows)
    while batch := [tuple(_plain(value) for value in row) for row in itertools.islice(waiting, 10_000)]:
        connection.exec_driver_sql(statement, batch)
        count += len(batch)
    return count


def _plain(value: Any) -> Any:
    """Write a moment as SQLite keeps it."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


def _move(connection: Connection, jobs: Sequence[Job]) -> None:
    """Bring jobs and trials to their states by moves that are allowed."""
    lease = datetime.now(UTC) + timedelta(days=1)
    connection.execute(text("UPDATE trials SET state = 'completed'"))
    by_state: dict[str, list[Job]] = {}
    for job in jobs:
        by_state.setdefault(job.state, []).append(job)
    ids = {state: [{"id": job.id} for job in found] for state, found in by_state.items()}
    for state, found in ids.items():
        if state == "queued":
            continue
        running = "UPDATE jobs SET state = 'running', worker = 'seeded', lease_until = :until WHERE id = :id"
        connection.execute(text(running), [one | {"until": _moment(connection, lease)} for one in found])
        if state != "running":
            ended = f"UPDATE jobs SET state = '{state}', worker = NULL, lease_until = NULL WHERE id = :id"
            connection.execute(text(ended), found)


def _moment(connection: Connection, moment: datetime) -> Any:
    return moment if connection.dialect.name == "postgresql" else _plain(moment)
