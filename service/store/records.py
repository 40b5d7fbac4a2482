"""What the store answers: frozen records, free of any database object.

Times are timezone-aware and in UTC; durations end in `_s`. Mappings come from JSON: read them,
never change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from service.legs import Measurement
from service.store.states import ExportState, JobState, StageState, TrialState, Wish


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A job as a list shows it: without the documents."""

    id: str
    name: str
    state: JobState
    owner: str
    priority: int  # the queue takes higher ones first
    seed: int
    metric: str | None  # this and the mode are known once the plan is recorded
    mode: Literal["min", "max"] | None
    message: str | None  # why it failed or was ended
    wish: Wish | None  # what was asked of it while it runs
    worker: str | None  # who runs it; None for a run without a server
    lease_until: datetime | None  # after this moment another worker may take it; None: nobody may
    attempt: int  # how often it was claimed: the number that fences off earlier ones
    num_deaths: int  # processes that died with it since its last leg
    num_events: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime  # of its last event
    active_s: float  # run time over all its processes
    best_trial: int | None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a job has come to so far."""

    num_trials: int = 0
    num_epochs: int = 0
    best_value: float | None = None  # the winner's, once there is one


@dataclass(frozen=True, kw_only=True)
class JobRecord(JobSummary):
    """A job: what was submitted, where it stands, what came out."""

    spec: Mapping[str, Any]
    spec_fingerprint: str
    base_dir: str  # relative paths of the spec start here
    data_fingerprint: str | None  # this and the plan are known once the plan is recorded
    plan: Mapping[str, Any] | None
    idempotency_key: str | None
    request_hash: str | None
    result: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What came of handing a job in."""

    job: JobRecord
    is_new: bool  # False: the same request had been made before, and this is its job


@dataclass(frozen=True, kw_only=True)
class NewStage:
    """A stage as a plan names it."""

    number: int
    name: str
    opens: tuple[str, ...]  # the hyperparameters that it searches
    why: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage of a job, and its outcome once it has ended."""

    number: int
    name: str
    opens: tuple[str, ...]
    why: str
    state: StageState
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """A round: the candidates that a stage asked for at once, and the epochs at which they are compared."""

    number: int
    stage: int
    rungs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A candidate as a round asks for it."""

    number: int
    params: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A candidate and what its training has come to."""

    number: int  # from 0 in its job
    stage: int
    round: int
    params: Mapping[str, Any]
    seed: int
    state: TrialState
    epochs: int  # trained and measured
    best_epoch: int | None
    best_value: float | None  # of the job's metric; ties go to the earlier epoch
    message: str | None
    num_legs: int
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class LegRecord:
    """A leg that is on record: who trained it, where, and for how long."""

    key: str
    start_epoch: int
    end_epoch: int
    trials: tuple[int, ...]
    fingerprint: str  # of the leg's inputs
    attempt: int
    slot: int
    device: str
    wall_s: float
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """A short training that was no trial, and what it found out."""

    key: str
    kind: str
    report: Mapping[str, Any] | None  # None: it raised, or its worker was lost; `message` says so
    message: str | None
    slot: int
    device: str
    wall_s: float
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class TimedMeasurement(Measurement):
    """A measurement and the moment that stands for it: the leg's end, counted back by its wall time."""

    measured_at: datetime


@dataclass(frozen=True, kw_only=True)
class TestRead:
    """The job's only look at the test split."""

    __test__ = False  # pytest: not a test class

    job_id: str
    trial: int
    claimed_at: datetime
    metrics: Mapping[str, Any] | None  # numbers, and mappings of them by class; None: claimed, not answered yet


@dataclass(frozen=True, kw_only=True)
class TrackingRun:
    """What of a trial (or, with trial None, of the job itself) already stands in the tracking server."""

    trial: int | None
    run_id: str
    logged_epochs: int = 0  # of the job itself: points of its curve
    logged_state: str | None = None  # None: the run exists, and nothing of it is logged for sure


@dataclass(frozen=True, kw_only=True)
class TrialChange:
    """A trial of which something is not in the tracking server yet."""

    trial: TrialRecord
    run: TrackingRun | None
    measurements: tuple[TimedMeasurement, ...]  # after the epochs that are logged


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """A bundle that was written or asked for."""

    id: int
    job_id: str
    trial: int
    state: ExportState
    formats: tuple[str, ...] | None  # None: as the spec says
    path: Path | None  # None until it is there
    message: str | None  # why it failed
    requested_by: str | None  # an owner; None for the one that a job writes at its end
    worker: str | None
    lease_until: datetime | None
    attempt: int
    created_at: datetime
    ended_at: datetime | None
