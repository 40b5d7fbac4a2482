"""Rows as records, and rows found by their key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from service.errors import InvalidSpecError, NotFoundError
from service.store.records import (
    ExportRecord,
    JobRecord,
    JobSummary,
    LegRecord,
    ProbeRecord,
    RoundRecord,
    StageRecord,
    TestRead,
    TimedMeasurement,
    TrackingRun,
    TrialRecord,
)
from service.store.states import ExportState, JobState, StageState, TrialState, Wish
from service.store.tables import (
    ExportRow,
    JobRow,
    LegRow,
    MeasurementRow,
    ProbeRow,
    RoundRow,
    StageRow,
    TestReadRow,
    TrackingRunRow,
    TrialRow,
)

USE_NEW = "the job was started by another version: start another job with --new"


def check_length(field: str, value: str | None, longest: int) -> None:
    """Refuse a text that its column does not hold; PostgreSQL would, SQLite would not.

    Raises:
        InvalidSpecError: It is too long, or empty.
    """
    if value is not None and not 0 < len(value) <= longest:
        raise InvalidSpecError(
            f"it must have 1 to {longest} characters, got {len(value)}: choose another", field=field
        )


def get_job(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """Find a job's row.

    Args:
        session: Of a transaction.
        job_id: The job.
        lock: Let nobody else change the job until the transaction has ended. SQLite has locked the whole database.
    """
    # FOR NO KEY UPDATE: rows below the job may still be added, which its foreign keys look at.
    row = session.get(JobRow, job_id, with_for_update={"key_share": True} if lock else None)
    if row is None:
        raise NotFoundError(f"no job has the id {job_id!r}: `tuneladder jobs` lists them")
    return row


def get_stage(session: Session, job_id: str, number: int) -> StageRow:
    """Find a stage's row."""
    row = session.get(StageRow, (job_id, number))
    if row is None:
        raise NotFoundError(f"job {job_id} has no stage {number}: its plan names them")
    return row


def get_trial(session: Session, job_id: str, number: int) -> TrialRow:
    """Find a trial's row."""
    row = session.get(TrialRow, (job_id, number))
    if row is None:
        raise NotFoundError(f"job {job_id} has no trial {number}: its rounds name them")
    return row


def get_trials(session: Session, job_id: str, numbers: Sequence[int]) -> list[TrialRow]:
    """Find the rows of several trials, in the order of the numbers."""
    query = select(TrialRow).where(TrialRow.job_id == job_id, TrialRow.number.in_(numbers))
    rows = {row.number: row for row in session.scalars(query)}
    missing = [number for number in numbers if number not in rows]
    if missing:
        raise NotFoundError(f"job {job_id} has no trial {missing[0]}: its rounds name them")
    return [rows[number] for number in numbers]


SUMMARY_COLUMNS = (
    JobRow.id,
    JobRow.name,
    JobRow.state,
    JobRow.owner,
    JobRow.priority,
    JobRow.seed,
    JobRow.metric,
    JobRow.mode,
    JobRow.message,
    JobRow.wish,
    JobRow.worker,
    JobRow.lease_until,
    JobRow.attempt,
    JobRow.num_deaths,
    JobRow.num_events,
    JobRow.created_at,
    JobRow.started_at,
    JobRow.ended_at,
    JobRow.updated_at,
    JobRow.active_s,
    JobRow.best_trial,
)


_SUMMARY_KEYS = tuple(column.key for column in SUMMARY_COLUMNS)


def _summary(values: Iterable[Any]) -> dict[str, Any]:
    fields = dict(zip(_SUMMARY_KEYS, values, strict=True))
    fields["state"] = JobState(fields["state"])
    fields["wish"] = None if fields["wish"] is None else Wish(fields["wish"])
    return fields


def job_summary(row: Row[*tuple[Any, ...]]) -> JobSummary:
    """Make the light record of a job, from its `SUMMARY_COLUMNS`."""
    return JobSummary(**_summary(row))


def job_record(row: JobRow) -> JobRecord:
    """Make the record of a job."""
    return JobRecord(
        **_summary(getattr(row, key) for key in _SUMMARY_KEYS),
        spec=row.spec,
        spec_fingerprint=row.spec_fingerprint,
        base_dir=row.base_dir,
        data_fingerprint=row.data_fingerprint,
        plan=row.plan,
        idempotency_key=row.idempotency_key,
        request_hash=row.request_hash,
        result=row.result,
    )


def stage_record(row: StageRow) -> StageRecord:
    """Make the record of a stage."""
    return StageRecord(
        number=row.number,
        name=row.name,
        opens=tuple(row.opens),
        why=row.why,
        state=StageState(row.state),
        outcome=row.outcome,
    )


def round_record(row: RoundRow) -> RoundRecord:
    """Make the record of a round."""
    return RoundRecord(number=row.number, stage=row.stage, rungs=tuple(row.rungs))


def trial_record(row: TrialRow) -> TrialRecord:
    """Make the record of a trial."""
    return TrialRecord(
        number=row.number,
        stage=row.stage,
        round=row.round,
        params=row.params,
        seed=row.seed,
        state=TrialState(row.state),
        epochs=row.epochs,
        best_epoch=row.best_epoch,
        best_value=row.best_value,
        message=row.message,
        num_legs=row.num_legs,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def leg_record(row: LegRow) -> LegRecord:
    """Make the record of a leg."""
    return LegRecord(
        key=row.key,
        start_epoch=row.start_epoch,
        end_epoch=row.end_epoch,
        trials=tuple(member["number"] for member in row.members),
        fingerprint=row.fingerprint,
        attempt=row.attempt,
        slot=row.slot,
        device=row.device,
        wall_s=row.wall_s,
        recorded_at=row.recorded_at,
    )


def probe_record(row: ProbeRow) -> ProbeRecord:
    """Make the record of a probe."""
    return ProbeRecord(
        key=row.key,
        kind=row.kind,
        report=row.report,
        message=row.message,
        slot=row.slot,
        device=row.device,
        wall_s=row.wall_s,
        recorded_at=row.recorded_at,
    )


def measurement_record(row: MeasurementRow | Row[*tuple[Any, ...]]) -> TimedMeasurement:
    """Make the record of a measurement."""
    return TimedMeasurement(epoch=row.epoch, metrics=row.metrics, measured_at=row.measured_at)


def test_read_record(row: TestReadRow) -> TestRead:
    """Make the record of the look at the test split."""
    return TestRead(job_id=row.job_id, trial=row.trial, claimed_at=row.claimed_at, metrics=row.metrics)


def tracking_run_record(row: TrackingRunRow) -> TrackingRun:
    """Make the record of a run in the tracking server."""
    return TrackingRun(
        trial=row.trial, run_id=row.run_id, logged_epochs=row.logged_epochs, logged_state=row.logged_state
    )


def export_record(row: ExportRow) -> ExportRecord:
    """Make the record of a bundle."""
    return ExportRecord(
        id=row.id,
        job_id=row.job_id,
        trial=row.trial,
        state=ExportState(row.state),
        formats=None if row.formats is None else tuple(row.formats),
        path=None if row.path is None else Path(row.path),
        message=row.message,
        requested_by=row.requested_by,
        worker=row.worker,
        lease_until=row.lease_until,
        attempt=row.attempt,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
