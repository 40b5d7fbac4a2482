"""What the store answers about the service itself: who asks, what happened, which workers are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.store.states import Role

EventKind = Literal["job", "plan", "round", "leg", "rung", "stage", "export"]


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who asks for a change: it goes into the audit in the transaction of the change."""

    owner: str
    token_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Something that happened to a job.

    `data` by kind. job: state, message, priority, wish, worker, attempt, best_trial. plan: stages (number, name,
    opens), metric, mode. round: number, stage, trials, rungs. leg: key, start_epoch, end_epoch, wall_s, members
    (trial, state, epochs, value: the objective's last). rung: stopped (trials). stage: number, name, state,
    outcome. export: id, state, trial, path, message. A reader passes over kinds and fields that it does not know.
    """

    number: int  # from 0 in its job, without gaps
    at: datetime
    kind: EventKind
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """A token, without its secret."""

    id: str
    name: str
    owner: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None  # to the minute


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """A change that somebody asked for."""

    id: int
    at: datetime
    owner: str  # who asked
    token_id: str | None
    action: str  # such as job.submit
    job_id: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker that claims jobs, and when it was last heard of."""

    name: str
    started_at: datetime
    seen_at: datetime
    detail: Mapping[str, Any]
