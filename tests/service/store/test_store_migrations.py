"""A store of the version before keeps all that is in it, upwards and downwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import IntegrityError
from story import a_leg, a_result, running_job

from service.store import Actor, ExportState, JobState, PostgresOptions, Role, Store
from service.store.engines import make_engine
from service.store.schema import migrate

MODULE = "module:my_package.data:MyDataModule:" + '{"folder": "' + "x" * 100 + '"}'
AT = "2026-03-01 12:00:00.000000"
OLD_ROWS = [
    "INSERT INTO jobs (id, name, state, spec, spec_fingerprint, base_dir, seed, data_fingerprint, plan, metric,"
    f" mode, created_at, active_s) VALUES ('{{job}}', 'digits', 'queued', '{{{{}}}}', 'f', '/data', 7, '{{data}}',"
    f" '{{{{}}}}', 'val_accuracy', 'max', '{AT}', 1.5)",
    "UPDATE jobs SET state = 'running', started_at = '2026-03-01 13:00:00.000000' WHERE id = '{job}'",
    "INSERT INTO stages (job_id, number, name, opens, why, state)"
    " VALUES ('{job}', 0, 'lr', '[\"lr\"]', 'w', 'pending')",
    "INSERT INTO rounds (job_id, number, stage, rungs) VALUES ('{job}', 0, 0, '[2]')",
    "INSERT INTO trials (job_id, number, stage, round, params, seed, state, epochs, num_legs, created_at)"
    f" VALUES ('{{job}}', 0, 0, 0, '{{{{}}}}', 1, 'pending', 0, 0, '{AT}')",
    "INSERT INTO measurements (job_id, trial, epoch, metrics, measured_at)"
    f" VALUES ('{{job}}', 0, 1, '{{{{\"val_accuracy\":0.5}}}}', '{AT}')",
    f"INSERT INTO exports (job_id, trial, path, created_at) VALUES ('{{job}}', 0, '/bundle', '{AT}')",
    "INSERT INTO tracking_runs (job_id, trial, run_id, logged_epochs) VALUES ('{job}', 0, 'r', 1)",
]


@pytest.fixture
def engine(new_url: str) -> Iterator[Engine]:
    made = make_engine(new_url, PostgresOptions()).execution_options(writes=True)
    yield made
    made.dispose()


def fill(connection: Connection, job: str, data: str) -> None:
    for statement in OLD_ROWS:
        connection.exec_driver_sql(statement.format(job=job, data=data))


def columns(connection: Connection) -> dict[str, set[str]]:
    found = inspect(connection)
    return {table: {c["name"] for c in found.get_columns(table)} for table in found.get_table_names()}


def test_a_store_of_the_version_before_is_brought_up_to_date(engine: Engine, new_url: str) -> None:
    is_postgres = engine.dialect.name == "postgresql"
    module = MODULE[:60] if is_postgres else MODULE  # PostgreSQL never held a longer one
    with engine.begin() as connection:
        migrate(connection, "0002")
        fill(connection, "a", module)
        fill(connection, "b", "0" * 64)
    with Store.open(new_url) as store:
        job = store.job("a")
        assert (job.owner, job.priority, job.attempt, job.num_events, job.wish) == ("local", 0, 0, 0, None)
        assert (job.state, job.active_s, job.updated_at) == (JobState.RUNNING, 1.5, job.started_at)
        assert job.data_fingerprint == hashlib.sha256(module.encode()).hexdigest()
        assert store.job("b").data_fingerprint == "0" * 64
        assert [trial.number for trial in store.trials("a")] == [0]
        assert [m.metrics for m in store.measurements("a", 0)] == [{"val_accuracy": 0.5}]
        assert [stage.opens for stage in store.stages("a")] == [("lr",)]
        assert [run.run_id for run in store.tracking_runs("a")] == ["r"]
        (export,) = store.exports("a")
        assert (export.state, export.path, export.trial) == (ExportState.COMPLETED, Path("/bundle"), 0)
        assert export.ended_at == export.created_at
        store.pause_job("a")
        assert [event.number for event in store.events("a")] == [0]
        assert {job.id for job in store.jobs(owner="local")} == {"a", "b"}


def test_a_store_goes_one_version_down_with_all_that_the_version_knows(engine: Engine, new_url: str) -> None:
    with engine.begin() as connection:
        migrate(connection, "0002")
        before = columns(connection)
    with Store.open(new_url) as store:
        job = running_job(store)
        leg = a_leg([0, 1, 2])
        store.record_leg(job.id, leg, a_result(leg), "f")
        store.record_export(job.id, 0, "/bundle")
        store.create_token("a", "ann", Role.ADMIN, by=Actor(owner="root"))
        store.finish_job(job.id, best_trial=0, result={})
        store.request_export(job.id)
        kept = store.job(job.id), store.trials(job.id), store.measurements_of(job.id, [0, 1, 2])
    with engine.begin() as connection:
        migrate(connection, "0002")
        assert columns(connection) == before
        paths = connection.execute(text("SELECT path FROM exports")).scalars().all()
        assert paths == ["/bundle"]  # the one that nobody has written yet went with the queue
    for table in ("jobs", "trials"):
        with engine.connect() as connection, pytest.raises(IntegrityError, match=f"guard of {table}"):
            connection.execute(text(f"UPDATE {table} SET state = 'pending'"))
    with Store.open(new_url) as store:
        job_again = store.job(job.id)
        assert (job_again.state, job_again.result, job_again.active_s) == (kept[0].state, {}, kept[0].active_s)
        assert (store.trials(job.id), store.measurements_of(job.id, [0, 1, 2])) == kept[1:]
        assert store.tokens() == ()
        assert len(store.exports(job.id)) == 1
