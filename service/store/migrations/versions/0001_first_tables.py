"""First tables, and the guards that keep states on their allowed moves.

A migration never changes once it is released, so the moves stand here as literals; a test compares them with
`service.store.states`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.migrations.guards import create_guard, drop_guards

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOVES = {
    "jobs": {
        "queued": ("running", "paused", "failed", "cancelled"),
        "running": ("queued", "paused", "completed", "failed", "cancelled"),
        "paused": ("queued", "running", "failed", "cancelled"),
        "completed": (),
        "failed": ("queued", "running"),
        "cancelled": (),
    },
    "stages": {
        "pending": ("running", "skipped"),
        "running": ("completed",),
        "completed": (),
        "skipped": (),
    },
    "trials": {
        "pending": ("running", "completed", "diverged", "failed", "cancelled"),
        "running": ("completed", "stopped", "diverged", "failed", "cancelled"),
        "completed": (),
        "stopped": (),
        "diverged": (),
        "failed": (),
        "cancelled": (),
    },
}
_FIRST = {"jobs": "queued", "stages": "pending", "trials": "pending"}
_TABLES = (
    "exports",
    "tracking_runs",
    "test_reads",
    "measurements",
    "legs",
    "trials",
    "rounds",
    "stages",
    "jobs",
)

_document = sa.JSON(none_as_null=True)
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create everything."""
    _create_jobs()
    _create_stages_and_rounds()
    _create_trials()
    _create_legs_and_measurements()
    _create_reads_and_exports()
    _create_tracking_runs()
    _create_guards()


def downgrade() -> None:
    """Drop everything; the triggers go with their tables."""
    for table in _TABLES:
        op.drop_table(table)
    drop_guards()


def _one_of(table: str) -> sa.CheckConstraint:
    values = ", ".join(f"'{state}'" for state in _MOVES[table])
    return sa.CheckConstraint(f"state IN ({values})", name=op.f(f"ck_{table}_state"))


def _in_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f(f"fk_{table}_job_id"), ondelete="CASCADE")


def _in_trial(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["job_id", "trial"],
        ["trials.job_id", "trials.number"],
        name=op.f(f"fk_{table}_job_id_trial"),
        ondelete="CASCADE",
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", _document, nullable=False),
        sa.Column("spec_fingerprint", sa.String(64), nullable=False),
        sa.Column("base_dir", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("data_fingerprint", sa.String(64)),
        sa.Column("plan", _document),
        sa.Column("metric", sa.String(100)),
        sa.Column("mode", sa.String(3)),
        sa.Column("message", sa.Text()),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("started_at", _moment),
        sa.Column("ended_at", _moment),
        sa.Column("active_s", sa.Double(), nullable=False),
        sa.Column("best_trial", sa.Integer()),
        sa.Column("result", _document),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.CheckConstraint("mode IN ('min', 'max')", name=op.f("ck_jobs_mode")),
        _one_of("jobs"),
    )
    op.create_index(op.f("ix_jobs_spec_fingerprint_id"), "jobs", ["spec_fingerprint", "id"])
    op.create_index(op.f("ix_jobs_state_id"), "jobs", ["state", "id"])


def _create_stages_and_rounds() -> None:
    op.create_table(
        "stages",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("opens", _document, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", _document),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_stages")),
        _in_job("stages"),
        _one_of("stages"),
    )
    op.create_table(
        "rounds",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("rungs", _document, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_rounds")),
        sa.ForeignKeyConstraint(
            ["job_id", "stage"],
            ["stages.job_id", "stages.number"],
            name=op.f("fk_rounds_job_id_stage"),
            ondelete="CASCADE",
        ),
    )


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("params", _document, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("best_epoch", sa.Integer()),
        sa.Column("best_value", sa.Double()),
        sa.Column("message", sa.Text()),
        sa.Column("num_legs", sa.Integer(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("ended_at", _moment),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_trials")),
        sa.ForeignKeyConstraint(
            ["job_id", "round"],
            ["rounds.job_id", "rounds.number"],
            name=op.f("fk_trials_job_id_round"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("epochs >= 0", name=op.f("ck_trials_epochs")),
        _one_of("trials"),
    )
    op.create_index(op.f("ix_trials_job_id_round"), "trials", ["job_id", "round"])


def _create_legs_and_measurements() -> None:
    op.create_table(
        "legs",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("start_epoch", sa.Integer(), nullable=False),
        sa.Column("end_epoch", sa.Integer(), nullable=False),
        sa.Column("members", _document, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.Column("recorded_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_legs")),
        sa.CheckConstraint("0 <= start_epoch AND start_epoch < end_epoch", name=op.f("ck_legs_epochs")),
        _in_job("legs"),
    )
    op.create_index(op.f("ix_legs_job_id_recorded_at"), "legs", ["job_id", "recorded_at"])
    op.create_table(
        "measurements",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metrics", _document, nullable=False),
        sa.Column("measured_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "trial", "epoch", name=op.f("pk_measurements")),
        _in_trial("measurements"),
        sqlite_with_rowid=False,
    )


def _create_reads_and_exports() -> None:
    op.create_table(
        "test_reads",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("claimed_at", _moment, nullable=False),
        sa.Column("metrics", _document),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_test_reads")),
        _in_trial("test_reads"),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        _in_trial("exports"),
    )
    op.create_index(op.f("ix_exports_job_id"), "exports", ["job_id"])


def _create_tracking_runs() -> None:
    op.create_table(
        "tracking_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("trial", sa.Integer()),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("logged_epochs", sa.Integer(), nullable=False),
        sa.Column("logged_state", sa.String(16)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracking_runs")),
        _in_job("tracking_runs"),
        _in_trial("tracking_runs"),
    )
    op.create_index(op.f("ix_tracking_runs_job_id_trial"), "tracking_runs", ["job_id", "trial"], unique=True)
    only_job = sa.text("trial IS NULL")
    op.create_index(
        op.f("ix_tracking_runs_of_job"),
        "tracking_runs",
        ["job_id"],
        unique=True,
        sqlite_where=only_job,
        postgresql_where=only_job,
    )


def _create_guards() -> None:
    for table, moves in _MOVES.items():
        allowed = " OR ".join(
            f"(OLD.state = '{now}' AND NEW.state IN ({', '.join(repr(state) for state in targets)}))"
            for now, targets in moves.items()
            if targets
        )
        create_guard(table, "UPDATE", f"OLD.state <> NEW.state AND NOT ({allowed})", "this move is not allowed")
        first = _FIRST[table]
        create_guard(table, "INSERT", f"NEW.state <> '{first}'", f"a new row is {first}")
    create_guard(
        "test_reads",
        "UPDATE",
        "OLD.trial <> NEW.trial OR OLD.metrics IS NOT NULL",
        "the test split is read once",
    )
