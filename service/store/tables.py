"""The tables, as SQLAlchemy sees them. Migrations create them; a test holds the two together.

Everything below a job has the job's id first in its key, so a page of one job is one range of the index.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.store.columns import Base, Document, Fingerprint, Id, Message, UtcDateTime, one_of
from service.store.states import ExportState, JobState, StageState, TrialState, Wish


def _in_job() -> Mapped[str]:
    return mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


def _in_trial(column: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["job_id", column], ["trials.job_id", "trials.number"], ondelete="CASCADE")


class JobRow(Base):
    """One row a job."""

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JobState),
        CheckConstraint("mode IN ('min', 'max')", name="mode"),
        one_of("wish", Wish),
        Index(None, "spec_fingerprint", "id"),
        # Pages of the list, by what they are sorted and filtered by.
        Index(None, "state", "id"),
        Index(None, "owner", "id"),
        Index(None, "owner", "state", "id"),
        Index(None, "name", "id"),
        Index(None, "updated_at", "id"),
        Index(None, "owner", "updated_at", "id"),
        Index(None, "priority", "id"),
        Index(None, "owner", "priority", "id"),
        # The queue: the head of each owner's line is found in the index alone.
        Index(None, "state", "priority", "owner", "id"),
        Index(None, "owner", "idempotency_key", unique=True),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]] = mapped_column(Document)
    spec_fingerprint: Mapped[str] = mapped_column(Fingerprint)
    base_dir: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    data_fingerprint: Mapped[str | None] = mapped_column(Fingerprint)
    plan: Mapped[dict[str, Any] | None] = mapped_column(Document)
    metric: Mapped[str | None] = mapped_column(String(100))
    mode: Mapped[str | None] = mapped_column(String(3))
    message: Mapped[str | None] = mapped_column(Message)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    active_s: Mapped[float] = mapped_column(Double)
    best_trial: Mapped[int | None] = mapped_column(Integer)
    result: Mapped[dict[str, Any] | None] = mapped_column(Document)
    owner: Mapped[str] = mapped_column(String(100), server_default="local")
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    request_hash: Mapped[str | None] = mapped_column(Fingerprint)
    wish: Mapped[str | None] = mapped_column(String(16))
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    num_deaths: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    num_events: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # The default is never seen: SQLite adds a column that is not null only with a constant one.
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default="1970-01-01 00:00:00")


class StageRow(Base):
    """One row a stage of the plan."""

    __tablename__ = "stages"
    __table_args__ = (one_of("state", StageState),)

    job_id: Mapped[str] = _in_job()
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200))
    opens: Mapped[list[str]] = mapped_column(Document)
    why: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Document)


class RoundRow(Base):
    """One row a round."""

    __tablename__ = "rounds"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "stage"], ["stages.job_id", "stages.number"], ondelete="CASCADE"),
    )

    job_id: Mapped[str] = mapped_column(Id, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    stage: Mapped[int] = mapped_column(Integer)
    rungs: Mapped[list[int]] = mapped_column(Document)


class TrialRow(Base):
    """One row a trial."""

    __tablename__ = "trials"
    __table_args__ = (
        one_of("state", TrialState),
        CheckConstraint("epochs >= 0", name="epochs"),
        ForeignKeyConstraint(["job_id", "round"], ["rounds.job_id", "rounds.number"], ondelete="CASCADE"),
        Index(None, "job_id", "round"),
    )

    job_id: Mapped[str] = mapped_column(Id, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    stage: Mapped[int] = mapped_column(Integer)
    round: Mapped[int] = mapped_column(Integer)
    params: Mapped[dict[str, Any]] = mapped_column(Document)
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    epochs: Mapped[int] = mapped_column(Integer)
    best_epoch: Mapped[int | None] = mapped_column(Integer)
    best_value: Mapped[float | None] = mapped_column(Double)
    message: Mapped[str | None] = mapped_column(Message)
    num_legs: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LegRow(Base):
    """One row a leg that is on record; `members` holds what it made of each, measurements aside."""

    __tablename__ = "legs"
    __table_args__ = (
        CheckConstraint("0 <= start_epoch AND start_epoch < end_epoch", name="epochs"),
        Index(None, "job_id", "recorded_at"),
    )

    job_id: Mapped[str] = _in_job()
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    start_epoch: Mapped[int] = mapped_column(Integer)
    end_epoch: Mapped[int] = mapped_column(Integer)
    members: Mapped[list[dict[str, Any]]] = mapped_column(Document)
    fingerprint: Mapped[str] = mapped_column(Fingerprint)
    attempt: Mapped[int] = mapped_column(Integer)
    slot: Mapped[int] = mapped_column(Integer)
    device: Mapped[str] = mapped_column(String(100))
    wall_s: Mapped[float] = mapped_column(Double)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProbeRow(Base):
    """One row a short training that was no trial, with what it found out."""

    __tablename__ = "probes"
    __table_args__ = (CheckConstraint("kind IN ('overfit', 'lr_range')", name="kind"),)

    job_id: Mapped[str] = _in_job()
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    report: Mapped[dict[str, Any] | None] = mapped_column(Document)
    message: Mapped[str | None] = mapped_column(Message)
    fingerprint: Mapped[str] = mapped_column(Fingerprint)
    slot: Mapped[int] = mapped_column(Integer)
    device: Mapped[str] = mapped_column(String(100))
    wall_s: Mapped[float] = mapped_column(Double)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)


class MeasurementRow(Base):
    """One row an epoch of a trial: by far the largest table, so it lies in the order of its key."""

    __tablename__ = "measurements"
    __table_args__ = (_in_trial("trial"), {"sqlite_with_rowid": False})

    job_id: Mapped[str] = mapped_column(Id, primary_key=True)
    trial: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, float | None]] = mapped_column(Document)
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TestReadRow(Base):
    """At most one row a job: the look at the test split."""

    __tablename__ = "test_reads"
    __table_args__ = (_in_trial("trial"),)

    job_id: Mapped[str] = mapped_column(Id, primary_key=True)
    trial: Mapped[int] = mapped_column(Integer)
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Document)


class TrackingRunRow(Base):
    """One row a trial that has a run in the tracking server, and one (trial null) for the job itself."""

    __tablename__ = "tracking_runs"
    __table_args__ = (
        _in_trial("trial"),
        Index(None, "job_id", "trial", unique=True),
        Index(
            "ix_tracking_runs_of_job",
            "job_id",
            unique=True,
            sqlite_where=text("trial IS NULL"),
            postgresql_where=text("trial IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    trial: Mapped[int | None] = mapped_column(Integer)
    run_id: Mapped[str] = mapped_column(String(64))
    logged_epochs: Mapped[int] = mapped_column(Integer)
    logged_state: Mapped[str | None] = mapped_column(String(16))


class ExportRow(Base):
    """One row a bundle that was written or asked for."""

    __tablename__ = "exports"
    __table_args__ = (
        one_of("state", ExportState),
        _in_trial("trial"),
        Index(None, "job_id"),
        Index(None, "state", "id"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id)
    trial: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    formats: Mapped[list[str] | None] = mapped_column(Document)
    path: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Message)
    requested_by: Mapped[str | None] = mapped_column(String(100))
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempt: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
