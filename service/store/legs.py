"""Legs in the store: recorded once, in one transaction with all that follows from them, and answered again."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, insert, select
from sqlalchemy.orm import Session

from service.errors import ConflictError
from service.legs import Leg, LegResult, Measurement, MemberResult
from service.store.database import Database
from service.store.records import LegRecord, TimedMeasurement
from service.store.rows import USE_NEW, get_job, get_trial, get_trials, leg_record, measurement_record
from service.store.states import JobState, TrialState
from service.store.tables import JobRow, LegRow, MeasurementRow, TrialRow


class Legs(Database):
    """What the store knows about finished training."""

    def leg_result(self, job_id: str, key: str, fingerprint: str) -> LegResult | None:
        """Answer a leg from its record; None where it is not on record.

        Checkpoints are files beside the store: members come back without them.

        Args:
            job_id: The job.
            key: The leg's key.
            fingerprint: Of the leg's inputs.

        Raises:
            ConflictError: The leg is on record with other inputs.
        """
        with self._reading() as session:
            row = session.get(LegRow, (job_id, key))
            if row is None:
                return None
            _check_fingerprint(row, fingerprint)
            return _result(session, row)

    def record_leg(self, job_id: str, leg: Leg, result: LegResult, fingerprint: str) -> LegRecord:
        """Put a leg's result on record: the leg, its measurements and its trials' states, all or nothing.

        The members' checkpoints must be on disk before. The same result again changes nothing.

        Raises:
            NotFoundError: The job or one of the trials is not there.
            ConflictError: The job is not running, the result is not one of this leg, a trial does not stand at the
                leg's start, or the leg is on record with another result.
        """
        _check_result(leg, result)
        with self._changing(job_id) as (session, job):
            known = session.get(LegRow, (job_id, leg.key))
            if known is not None:
                _check_fingerprint(known, fingerprint)
                if _essence(_result(session, known)) != _essence(result):
                    raise ConflictError(
                        f"a leg has one result, got another one for leg {leg.key} of job {job_id}: training on "
                        "this device is not reproducible, or two processes run the job"
                    )
                return leg_record(known)
            if job.state != JobState.RUNNING:
                raise ConflictError(
                    f"legs are recorded for a running job, got leg {leg.key} of job {job_id}, which is "
                    f"{job.state}: run the job again to go on"
                )
            now = self._now(session)
            trials = get_trials(session, job_id, [member.number for member in result.members])
            for row, member in zip(trials, result.members, strict=True):
                _move_trial(row, job, leg, member, now)
            recorded = _leg_row(job_id, leg, result, fingerprint, now)
            session.add(recorded)
            session.flush()
            if rows := _measurement_rows(job_id, leg, result, now):
                session.execute(insert(MeasurementRow), rows)
            job.num_deaths = 0
            self._note(session, job, "leg", _leg_event(job, leg, result, trials))
            return leg_record(recorded)

    def legs(self, job_id: str) -> tuple[LegRecord, ...]:
        """List the legs of a job in the order in which they were recorded."""
        query = select(LegRow).where(LegRow.job_id == job_id).order_by(LegRow.recorded_at, LegRow.key)
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(leg_record(row) for row in session.scalars(query))

    def measurements(self, job_id: str, trial: int, *, after: int = 0) -> tuple[TimedMeasurement, ...]:
        """List a trial's measurements by epoch, those after an epoch only.

        Raises:
            NotFoundError: The job or the trial is not there.
        """
        query = (
            select(MeasurementRow)
            .where(MeasurementRow.job_id == job_id, MeasurementRow.trial == trial, MeasurementRow.epoch > after)
            .order_by(MeasurementRow.epoch)
        )
        with self._asking() as session:
            get_job(session, job_id)
            get_trial(session, job_id, trial)
            return tuple(measurement_record(row) for row in session.scalars(query))

    def best_measurements(self, job_id: str, trials: Collection[int]) -> dict[int, tuple[TimedMeasurement, ...]]:
        """Give the measurement of each trial's best epoch, in one query; an empty tuple where there is none."""
        query = (
            select(MeasurementRow.trial, MeasurementRow.epoch, MeasurementRow.metrics, MeasurementRow.measured_at)
            .join(
                TrialRow,
                and_(
                    MeasurementRow.job_id == TrialRow.job_id,
                    MeasurementRow.trial == TrialRow.number,
                    MeasurementRow.epoch == TrialRow.best_epoch,
                ),
            )
            .where(TrialRow.job_id == job_id, TrialRow.number.in_(trials))
        )
        found: dict[int, tuple[TimedMeasurement, ...]] = dict.fromkeys(trials, ())
        with self._asking() as session:
            for row in session.execute(query):
                found[row.trial] = (measurement_record(row),)
        return found

    def measurements_of(self, job_id: str, trials: Collection[int]) -> dict[int, tuple[TimedMeasurement, ...]]:
        """List the measurements of several trials in one query, by trial; one that has none has an empty tuple."""
        query = (
            select(MeasurementRow.trial, MeasurementRow.epoch, MeasurementRow.metrics, MeasurementRow.measured_at)
            .where(MeasurementRow.job_id == job_id, MeasurementRow.trial.in_(trials))
            .order_by(MeasurementRow.trial, MeasurementRow.epoch)
        )
        found: dict[int, list[TimedMeasurement]] = {number: [] for number in trials}
        with self._asking() as session:
            for row in session.execute(query):
                found[row.trial].append(measurement_record(row))
        return {number: tuple(measured) for number, measured in found.items()}


def _check_fingerprint(row: LegRow, fingerprint: str) -> None:
    if row.fingerprint != fingerprint:
        raise ConflictError(
            f"a leg that is on record has the same inputs when its job is run again, got others for leg "
            f"{row.key} of job {row.job_id}: {USE_NEW}"
        )


def _check_result(leg: Leg, result: LegResult) -> None:
    """Refuse a result that is not one of this leg: that is a bug of an engine, found before it is on record."""
    asked, answered = [m.number for m in leg.members], [m.number for m in result.members]
    if (leg.key, asked) != (result.key, answered):
        raise ConflictError(
            f"a result answers its leg member by member, got {result.key} {answered} for {leg.key} {asked}"
        )
    for member in result.members:
        epochs = [measurement.epoch for measurement in member.measurements]
        last = leg.start_epoch + len(epochs)
        in_order = epochs == list(range(leg.start_epoch + 1, last + 1)) and last <= leg.end_epoch
        if not in_order or (member.state == "running" and last != leg.end_epoch):
            raise ConflictError(
                f"a member's measurements follow each other from the leg's start, and reach its end where it is "
                f"still running, got epochs {epochs} of trial {member.number} ({member.state}) for leg {leg.key}, "
                f"epochs {leg.start_epoch} to {leg.end_epoch}"
            )


def _move_trial(row: TrialRow, job: JobRow, leg: Leg, member: MemberResult, now: datetime) -> None:
    if row.state not in {TrialState.PENDING, TrialState.RUNNING} or row.epochs != leg.start_epoch:
        raise ConflictError(
            f"a leg starts where its trials stand, got leg {leg.key} from epoch {leg.start_epoch} for trial "
            f"{row.number} of job {row.job_id}, which is {row.state} at epoch {row.epochs}: {USE_NEW}"
        )
    row.state = TrialState(member.state)
    row.epochs += len(member.measurements)
    row.num_legs += 1
    row.message = member.message
    if row.state != TrialState.RUNNING:
        row.ended_at = now
    for measurement in member.measurements:
        value = measurement.metrics.get(job.metric or "")
        if value is not None and _is_better(value, row.best_value, job.mode):
            row.best_epoch, row.best_value = measurement.epoch, value


def _is_better(value: float, than: float | None, mode: str | None) -> bool:
    if not math.isfinite(value):
        return False
    return than is None or (value > than if mode == "max" else value < than)


def _leg_row(job_id: str, leg: Leg, result: LegResult, fingerprint: str, now: datetime) -> LegRow:
    members = [
        {
            "number": member.number,
            "state": member.state,
            "message": member.message,
            "train_s": member.train_s,
            "epochs": len(member.measurements),
        }
        for member in result.members
    ]
    return LegRow(
        job_id=job_id,
        key=leg.key,
        start_epoch=leg.start_epoch,
        end_epoch=leg.end_epoch,
        members=members,
        fingerprint=fingerprint,
        attempt=result.attempt,
        slot=result.slot,
        device=result.device,
        wall_s=result.wall_s,
        recorded_at=now,
    )


def _leg_event(job: JobRow, leg: Leg, result: LegResult, trials: Sequence[TrialRow]) -> dict[str, Any]:
    """Say what a leg came to, in the few words that somebody who watches needs."""
    last = [member.measurements[-1].metrics if member.measurements else {} for member in result.members]
    return {
        "key": leg.key,
        "start_epoch": leg.start_epoch,
        "end_epoch": leg.end_epoch,
        "wall_s": result.wall_s,
        "members": [
            {"trial": row.number, "state": row.state, "epochs": row.epochs, "value": metrics.get(job.metric or "")}
            for row, metrics in zip(trials, last, strict=True)
        ],
    }


def _measurement_rows(job_id: str, leg: Leg, result: LegResult, now: datetime) -> list[dict[str, Any]]:
    """Give each measurement a moment: epochs of a leg are taken as equally long, the last one ends now."""
    per_epoch = timedelta(seconds=result.wall_s / (leg.end_epoch - leg.start_epoch))
    return [
        {
            "job_id": job_id,
            "trial": member.number,
            "epoch": measurement.epoch,
            "metrics": dict(measurement.metrics),
            "measured_at": now - per_epoch * (leg.end_epoch - measurement.epoch),
        }
        for member in result.members
        for measurement in member.measurements
    ]


def _result(session: Session, row: LegRow) -> LegResult:
    numbers = [member["number"] for member in row.members]
    query = (
        select(MeasurementRow.trial, MeasurementRow.epoch, MeasurementRow.metrics)
        .where(
            MeasurementRow.job_id == row.job_id,
            MeasurementRow.trial.in_(numbers),
            MeasurementRow.epoch > row.start_epoch,
            MeasurementRow.epoch <= row.end_epoch,
        )
        .order_by(MeasurementRow.trial, MeasurementRow.epoch)
    )
    found: dict[int, list[Measurement]] = {number: [] for number in numbers}
    for trial, epoch, metrics in session.execute(query):
        found[trial].append(Measurement(epoch=epoch, metrics=metrics))
    members = tuple(_member(member, found[member["number"]]) for member in row.members)
    return LegResult(
        key=row.key,
        members=members,
        slot=row.slot,
        attempt=row.attempt,
        wall_s=row.wall_s,
        device=row.device,
    )


def _member(member: dict[str, Any], measurements: Sequence[Measurement]) -> MemberResult:
    return MemberResult(
        number=member["number"],
        state=member["state"],
        measurements=tuple(measurements),
        message=member["message"],
        train_s=member["train_s"],
    )


def _essence(result: LegResult) -> list[tuple[Any, ...]]:
    """Reduce a result to what must be the same in every execution: no times, no places."""
    return [
        (member.number, member.state, [(m.epoch, dict(m.metrics)) for m in member.measurements])
        for member in result.members
    ]
