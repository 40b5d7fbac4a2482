"""The tables that only a server fills: who may do what, who did what, and which workers are there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.columns import Base, Document, Fingerprint, Id, UtcDateTime, one_of
from service.store.states import Role


class EventRow(Base):
    """One row a thing that happened to a job, numbered by the job's own count: none is missing between two."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(Document)


class TokenRow(Base):
    """One row a token; the secret itself is never kept."""

    __tablename__ = "tokens"
    __table_args__ = (one_of("role", Role), Index(None, "hash", unique=True), Index(None, "owner", "id"))

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    owner: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    hash: Mapped[str] = mapped_column(Fingerprint)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AuditRow(Base):
    """One row a change that somebody asked for. It outlives jobs and tokens, so it names them without a key."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "job_id", "id"), Index(None, "owner", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    owner: Mapped[str] = mapped_column(String(100))
    token_id: Mapped[str | None] = mapped_column(Id)
    action: Mapped[str] = mapped_column(String(100))
    job_id: Mapped[str | None] = mapped_column(Id)
    detail: Mapped[dict[str, Any]] = mapped_column(Document)


class WorkerRow(Base):
    """One row a worker that is there, or was and did not say goodbye."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    detail: Mapped[dict[str, Any]] = mapped_column(Document)
