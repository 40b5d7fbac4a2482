"""The store: the truth about every job. The only door to SQLAlchemy."""

from service.store.checkpoints import CheckpointFiles, job_folder
from service.store.engines import PostgresOptions, sqlite_url
from service.store.lists import JobSort, job_cursor
from service.store.locks import JobLock
from service.store.records import (
    ExportRecord,
    JobRecord,
    JobSummary,
    LegRecord,
    NewStage,
    NewTrial,
    ProbeRecord,
    RoundRecord,
    StageRecord,
    Submission,
    Tally,
    TestRead,
    TimedMeasurement,
    TrackingRun,
    TrialChange,
    TrialRecord,
)
from service.store.service_records import Actor, AuditRecord, EventKind, EventRecord, TokenRecord, WorkerRecord
from service.store.states import ExportState, JobState, Role, StageState, TrialState, Wish
from service.store.store import Store

__all__ = [
    "Actor",
    "AuditRecord",
    "CheckpointFiles",
    "EventKind",
    "EventRecord",
    "ExportRecord",
    "ExportState",
    "JobLock",
    "JobRecord",
    "JobSort",
    "JobState",
    "JobSummary",
    "LegRecord",
    "NewStage",
    "NewTrial",
    "PostgresOptions",
    "ProbeRecord",
    "Role",
    "RoundRecord",
    "StageRecord",
    "StageState",
    "Store",
    "Submission",
    "Tally",
    "TestRead",
    "TimedMeasurement",
    "TokenRecord",
    "TrackingRun",
    "TrialChange",
    "TrialRecord",
    "TrialState",
    "Wish",
    "WorkerRecord",
    "job_cursor",
    "job_folder",
    "sqlite_url",
]
