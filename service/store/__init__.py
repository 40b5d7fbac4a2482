"""The store: the truth about every job. The only door to SQLAlchemy."""

from service.store.checkpoints import CheckpointFiles, job_folder
from service.store.database import sqlite_url
from service.store.locks import JobLock
from service.store.records import (
    ExportRecord,
    JobRecord,
    LegRecord,
    NewStage,
    NewTrial,
    ProbeRecord,
    RoundRecord,
    StageRecord,
    TestRead,
    TimedMeasurement,
    TrackingRun,
    TrialChange,
    TrialRecord,
)
from service.store.states import JobState, StageState, TrialState
from service.store.store import Store

__all__ = [
    "CheckpointFiles",
    "ExportRecord",
    "JobLock",
    "JobRecord",
    "JobState",
    "LegRecord",
    "NewStage",
    "NewTrial",
    "ProbeRecord",
    "RoundRecord",
    "StageRecord",
    "StageState",
    "Store",
    "TestRead",
    "TimedMeasurement",
    "TrackingRun",
    "TrialChange",
    "TrialRecord",
    "TrialState",
    "job_folder",
    "sqlite_url",
]
