"""What a server answers, as frozen models. What a newer server says beyond them is left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

FINAL_STATES = frozenset({"completed", "failed", "cancelled"})
Role = Literal["viewer", "submitter", "admin"]
T = TypeVar("T")


class Model(BaseModel):
    """Base of all: frozen."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Page(Model, Generic[T]):
    """A part of a list, and where the next one begins."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class Job(Model):
    """A job: what was submitted, where it stands, what came out.

    Lists leave out spec, plan and result, and say in their place what it has come to so far.
    """

    id: str
    name: str
    state: str
    owner: str
    priority: int = 0
    message: str | None = None
    metric: str | None = None
    mode: Literal["min", "max"] | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    active_s: float = 0.0
    best_trial: int | None = None
    num_events: int = 0
    wish: str | None = None
    worker: str | None = None
    num_trials: int | None = None  # this and the next two in lists alone
    num_epochs: int | None = None
    best_value: float | None = None
    spec: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Nothing more happens in this state; a failed job may be resumed."""
        return self.state in FINAL_STATES


class SubmittedJob(Job):
    """A job as it was just submitted."""

    is_repeat: bool = False  # the idempotency key was used before, for this job


class Stage(Model):
    """A stage of a job, and its outcome once it has ended."""

    number: int
    name: str
    opens: tuple[str, ...]
    why: str
    state: str
    outcome: Mapping[str, Any] | None = None


class Measurement(Model):
    """A trial's metrics after an epoch."""

    epoch: int
    metrics: Mapping[str, float | None]


class Trial(Model):
    """A candidate and what its training has come to; `metrics` are those of its best epoch."""

    number: int
    stage: int
    round: int
    params: Mapping[str, Any]
    state: str
    epochs: int
    best_epoch: int | None = None
    best_value: float | None = None
    metrics: Mapping[str, float | None] = Field(default_factory=dict)
    health: tuple[str, ...] | None = None  # this and the measurements, where they were asked for
    message: str | None = None
    measurements: tuple[Measurement, ...] | None = None


class Best(Model):
    """A finished job's winner, and what the test split said of it."""

    job_id: str
    number: int
    params: Mapping[str, Any]
    metric: str
    mode: Literal["min", "max"]
    metrics: Mapping[str, float | None]  # of the best epoch, on validation rows
    epoch: int | None = None
    test: Mapping[str, Any] | None = None
    importances: Mapping[str, Any] | None = None


class PlannedStage(Model):
    """One step of a plan: what it opens, and what it may spend."""

    number: int
    name: str
    opens: tuple[str, ...]
    why: str
    num_candidates: int
    max_epochs: int


class Plan(Model):
    """What a job would do; `estimate` is None for data of one's own."""

    strategy: str
    stages: tuple[PlannedStage, ...]
    rungs: tuple[int, ...]
    reduction_factor: int
    budget_epochs: int
    max_epochs: int
    metric: str
    mode: Literal["min", "max"]
    num_trials: int
    left_out: tuple[str, ...] = ()
    estimate: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


class Export(Model):
    """A bundle that was asked for."""

    id: int
    state: str
    trial: int | None = None
    message: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class Token(Model):
    """A token as the server keeps it: without its secret."""

    id: str
    name: str
    owner: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class NewToken(Token):
    """A token with its secret, which nobody can ask for again."""

    token: str = Field(repr=False)


class AuditEntry(Model):
    """Who changed what, and when."""

    id: int
    at: datetime
    owner: str
    token_id: str | None = None
    action: str
    job_id: str | None = None
    detail: Mapping[str, Any] = Field(default_factory=dict)


class Me(Model):
    """Who a token belongs to."""

    owner: str
    role: Role
    name: str | None = None
    expires_at: datetime | None = None
