"""What a service needs: owners, a queue with leases, events, tokens, an audit, a queue of exports."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

from service.store.migrations.guards import create_guard, drop_guard

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_document = sa.JSON(none_as_null=True)
_moment = sa.DateTime(timezone=True)
_EPOCH = "1970-01-01 00:00:00"

_JOB_INDEXES = (
    ("owner", "id"),
    ("owner", "state", "id"),
    ("name", "id"),
    ("updated_at", "id"),
    ("owner", "updated_at", "id"),
    ("priority", "id"),
    ("owner", "priority", "id"),
    ("state", "priority", "owner", "id"),
)
_EXPORT_MOVES = {
    "queued": ("running", "failed"),
    "running": ("queued", "completed", "failed"),
}


def upgrade() -> None:
    """Add what is new; rows that are there get an owner, and their exports are completed."""
    _alter_jobs()
    _alter_exports()
    _create_events()
    _create_tokens_and_audit()
    _create_workers()


def downgrade() -> None:
    """Take it away again; exports that are not completed go with it."""
    for table in ("workers", "audit", "tokens", "events"):
        op.drop_table(table)
    _alter_exports_back()
    for columns in (*_JOB_INDEXES, ("owner", "idempotency_key")):
        op.drop_index(op.f(f"ix_jobs_{'_'.join(columns)}"), "jobs")
    for name in (*(column.name for column in _job_columns()), "wish"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {name}")


def _job_columns() -> tuple[sa.Column[Any], ...]:
    # Columns are only added, and one that is not null has a constant default: SQLite changes anything else by
    # writing the table again, and dropping the old `jobs` would delete what belongs to them.
    return (
        sa.Column("owner", sa.String(100), server_default="local", nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("request_hash", sa.String(64)),
        sa.Column("worker", sa.String(200)),
        sa.Column("lease_until", _moment),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_deaths", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_events", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated_at", _moment, server_default=_EPOCH, nullable=False),
    )


def _alter_jobs() -> None:
    for column in _job_columns():
        op.add_column("jobs", column)
    op.execute(
        "ALTER TABLE jobs ADD COLUMN wish VARCHAR(16) "
        "CONSTRAINT ck_jobs_wish CHECK (wish IN ('pause', 'cancel', 'preempt'))"
    )
    op.execute("UPDATE jobs SET updated_at = COALESCE(ended_at, started_at, created_at)")
    _hash_module_fingerprints()
    for columns in _JOB_INDEXES:
        op.create_index(op.f(f"ix_jobs_{'_'.join(columns)}"), "jobs", list(columns))
    key = ["owner", "idempotency_key"]
    op.create_index(op.f("ix_jobs_owner_idempotency_key"), "jobs", key, unique=True)


def _hash_module_fingerprints() -> None:
    """Name a person's own data module by a hash, as all other data is: import path and arguments can be long."""
    jobs = sa.table("jobs", sa.column("id"), sa.column("data_fingerprint"))
    long_ones = sa.select(jobs).where(jobs.c.data_fingerprint.startswith("module:"))
    connection = op.get_bind()
    for job_id, text in connection.execute(long_ones).all():
        hashed = hashlib.sha256(text.encode()).hexdigest()
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(data_fingerprint=hashed))


def _alter_exports() -> None:
    with op.batch_alter_table("exports") as batch:
        batch.add_column(sa.Column("state", sa.String(16), server_default="completed", nullable=False))
        batch.add_column(sa.Column("formats", _document))
        batch.add_column(sa.Column("message", sa.Text()))
        batch.add_column(sa.Column("requested_by", sa.String(100)))
        batch.add_column(sa.Column("worker", sa.String(200)))
        batch.add_column(sa.Column("lease_until", _moment))
        batch.add_column(sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False))
        batch.add_column(sa.Column("ended_at", _moment))
        batch.alter_column("path", existing_type=sa.Text(), nullable=True)
        batch.create_check_constraint(
            op.f("ck_exports_state"), "state IN ('queued', 'running', 'completed', 'failed')"
        )
        batch.create_index(op.f("ix_exports_state_id"), ["state", "id"])
    op.execute("UPDATE exports SET ended_at = created_at")
    with op.batch_alter_table("exports") as batch:  # the defaults were for the rows that were there
        batch.alter_column("state", existing_type=sa.String(16), server_default=None)
        batch.alter_column("attempt", existing_type=sa.Integer(), server_default=None)
    allowed = " OR ".join(
        f"(OLD.state = '{now}' AND NEW.state IN ({', '.join(repr(state) for state in targets)}))"
        for now, targets in _EXPORT_MOVES.items()
    )
    create_guard("exports", "UPDATE", f"OLD.state <> NEW.state AND NOT ({allowed})", "this move is not allowed")
    create_guard("exports", "INSERT", "NEW.state NOT IN ('queued', 'completed')", "a new row is queued")


def _alter_exports_back() -> None:
    drop_guard("exports", "UPDATE")
    drop_guard("exports", "INSERT")
    op.execute("DELETE FROM exports WHERE state <> 'completed'")
    op.drop_index(op.f("ix_exports_state_id"), "exports")
    with op.batch_alter_table("exports") as batch:
        batch.drop_constraint(op.f("ck_exports_state"), type_="check")
        batch.alter_column("path", existing_type=sa.Text(), nullable=False)
        for name in (
            "state",
            "formats",
            "message",
            "requested_by",
            "worker",
            "lease_until",
            "attempt",
            "ended_at",
        ):
            batch.drop_column(name)


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", _moment, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", _document, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_events")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id"), ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )


def _create_tokens_and_audit() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("expires_at", _moment),
        sa.Column("revoked_at", _moment),
        sa.Column("last_used_at", _moment),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.CheckConstraint("role IN ('viewer', 'submitter', 'admin')", name=op.f("ck_tokens_role")),
    )
    op.create_index(op.f("ix_tokens_hash"), "tokens", ["hash"], unique=True)
    op.create_index(op.f("ix_tokens_owner_id"), "tokens", ["owner", "id"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", _moment, nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("token_id", sa.String(32)),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("job_id", sa.String(32)),
        sa.Column("detail", _document, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_job_id_id"), "audit", ["job_id", "id"])
    op.create_index(op.f("ix_audit_owner_id"), "audit", ["owner", "id"])


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("started_at", _moment, nullable=False),
        sa.Column("seen_at", _moment, nullable=False),
        sa.Column("detail", _document, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
