"""What the API answers, for its OpenAPI document. `service.api.views` makes it; a test holds the two together.

The models describe answers, they do not make them: a job's documents are large, and were validated when they came.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.spec import ExportFormat
from service.store import EventKind, ExportState, JobState, Role, StageState, TrialState, Wish

T = TypeVar("T")
MAX_PRIORITY = 1000
Metrics = dict[str, float | None]


class Answer(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[T]):
    """A part of a list; `next_cursor` goes into `cursor` for the next one, null: this is the last."""

    items: list[T]
    next_cursor: str | None


class JobSummary(Answer):
    """A job as a list shows it: without spec, plan and result."""

    id: str = Field(description="sorts by time; where an id is asked for, its beginning will do")
    name: str
    state: JobState
    owner: str
    priority: int = Field(description="the queue takes higher ones first")
    message: str | None = Field(description="why it failed or was put aside")
    wish: Wish | None = Field(description="what was asked of it while it runs; done at the end of a leg")
    worker: str | None = Field(description="who runs it")
    attempt: int = Field(description="how often a worker took it")
    metric: str | None = Field(description="the objective, once the plan is recorded")
    mode: Literal["min", "max"] | None
    seed: int
    best_trial: int | None
    num_events: int
    created_at: datetime
    updated_at: datetime = Field(description="of its last event")
    started_at: datetime | None
    ended_at: datetime | None
    active_s: float = Field(description="run time, over all its attempts")


class ListedJob(JobSummary):
    """A job in a list, with what it has come to so far."""

    num_trials: int
    num_epochs: int = Field(description="of all its trials")
    best_value: float | None = Field(description="the winner's, of the objective, once there is one")


class Job(JobSummary):
    """A job, whole."""

    spec_fingerprint: str
    data_fingerprint: str | None
    spec: dict[str, Any] = Field(description="with every default filled in; paths are the server's")
    plan: dict[str, Any] | None
    result: dict[str, Any] | None = Field(description="winner, test metrics, importances, checks, health")


class Stage(Answer):
    """A stage of the plan, and its outcome once it has ended."""

    number: int
    name: str
    opens: list[str] = Field(description="the hyperparameters that it searches")
    why: str
    state: StageState
    outcome: dict[str, Any] | None


class Measurement(Answer):
    """Every metric's value after an epoch; null: it was not finite."""

    epoch: int = Field(description="counts from 1")
    metrics: Metrics
    measured_at: datetime


class Trial(Answer):
    """A candidate and what its training has come to."""

    number: int
    stage: int
    round: int
    params: dict[str, Any]
    seed: int
    state: TrialState
    epochs: int = Field(description="trained and measured")
    best_epoch: int | None
    best_value: float | None = Field(description="of the objective")
    metrics: Metrics = Field(description="of the best epoch, health aside")
    message: str | None
    num_legs: int
    created_at: datetime
    ended_at: datetime | None
    health: list[str] | None = Field(
        description="what was bad in an epoch; null where measurements were not asked for"
    )
    measurements: list[Measurement] | None = Field(description="null where they were not asked for")


class Best(Answer):
    """The winner of a job that has completed."""

    job_id: str
    number: int
    params: dict[str, Any]
    metric: str
    mode: Literal["min", "max"]
    epoch: int | None
    metrics: Metrics = Field(description="of the best epoch, on validation rows")
    test: dict[str, Any] | None = Field(description="of the test split, which was read once")
    importances: dict[str, Any] | None


class Event(Answer):
    """Something that happened to a job, numbered from 0 without gaps. Expect kinds and fields that are new."""

    number: int
    at: datetime
    kind: EventKind
    data: dict[str, Any]


class BundleExport(Answer):
    """A bundle that was written or asked for."""

    id: int
    job_id: str
    trial: int
    state: ExportState
    formats: list[ExportFormat] | None = Field(description="null: as the spec says")
    message: str | None = Field(description="why it failed")
    requested_by: str | None = Field(description="an owner; null for the one that a job writes at its end")
    created_at: datetime
    ended_at: datetime | None


class Estimate(Answer):
    """How long a job would take, if every epoch of the budget is trained at the cost of the defaults."""

    epoch_s: float
    num_slots: int
    total_s: float


class PlannedStage(Answer):
    """One step of a plan."""

    number: int
    name: str
    opens: list[str]
    why: str
    num_candidates: int
    max_epochs: int


class Plan(Answer):
    """What a job would do."""

    model_config = ConfigDict(extra="allow")

    strategy: str
    metric: str
    mode: Literal["min", "max"]
    stages: list[PlannedStage]
    rungs: list[int]
    reduction_factor: int
    budget_epochs: int
    max_epochs: int
    num_trials: int
    left_out: list[str] = Field(description="parameters whose stage the budget does not reach")
    estimate: Estimate | None = Field(description="null for modules and data of one's own")
    warnings: list[str] = Field(description="about settings that are allowed and hardly meant")


class Family(Answer):
    """A built-in family of networks."""

    name: str
    title: str
    data: list[str] = Field(description="kinds of data that it reads")


class Dataset(Answer):
    """A data set that a spec can name."""

    name: str
    kind: Literal["tabular", "image", "text", "series"]
    task: Literal["classification", "regression"]
    num_rows: int
    num_classes: int | None
    is_downloaded: bool = Field(description="whether it is fetched at the first use")


class Space(Answer):
    """A family's search space, in the order of tuning."""

    name: str
    parameters: list[dict[str, Any]]
    conditions: list[dict[str, Any]]
    companions: dict[str, str]
    optional: list[dict[str, Any]] = Field(description="searched only where a spec names them")
    stages: list[dict[str, Any]]


class Token(Answer):
    """A token, without its secret."""

    id: str
    name: str
    owner: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")


class NewToken(Token):
    """A token with its secret, which cannot be asked for again."""

    token: str


class Me(Answer):
    """Whose token it is that asks."""

    owner: str
    role: Role
    name: str
    token_id: str
    expires_at: datetime | None


class AuditEntry(Answer):
    """A change that somebody asked for."""

    id: int
    at: datetime
    owner: str = Field(description="who asked")
    token_id: str | None
    action: str = Field(examples=["job.submit"])
    job_id: str | None
    detail: dict[str, Any]


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Ready(Answer):
    """The store answers, too; `num_workers` have been heard of lately."""

    status: Literal["ready"]
    num_workers: int


class Request(BaseModel):
    """Base of what comes in; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


def _whole(value: object) -> object:
    """Take 12.0 for 12: JSON knows one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class PriorityRequest(Request):
    """Another priority."""

    priority: Annotated[int, BeforeValidator(_whole)] = Field(
        ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="the queue takes higher ones first"
    )


class ExportRequest(Request):
    """A bundle to write."""

    formats: list[ExportFormat] | None = Field(
        None, max_length=10, description="what it holds beside its description; null: as the spec says"
    )


class TokenRequest(Request):
    """A token to make."""

    name: str = Field(min_length=1, max_length=100, description="what it is for")
    owner: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$", description="whose jobs its bearer may see")
    role: Role = Field(
        description="viewer: reads jobs; submitter: also submits and steers them; admin: everything"
    )
    expires_at: datetime | None = Field(None, description="with a time zone; null: good until it is revoked")
