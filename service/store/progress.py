"""How far the tracking server is behind the store."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, delete, func, or_, select

from service.store.database import Database
from service.store.records import TrackingRun, TrialChange
from service.store.rows import measurement_record, tracking_run_record, trial_record
from service.store.tables import MeasurementRow, TrackingRunRow, TrialRow

_SAME_TRIAL = and_(TrackingRunRow.job_id == TrialRow.job_id, TrackingRunRow.trial == TrialRow.number)
_IS_BEHIND = or_(
    TrackingRunRow.logged_state.is_(None),  # no run, or a run with nothing in it
    TrackingRunRow.logged_state != TrialRow.state,
    TrackingRunRow.logged_epochs < TrialRow.epochs,
)


class TrackingProgress(Database):
    """What the store knows about what was logged."""

    def tracking_runs(self, job_id: str) -> tuple[TrackingRun, ...]:
        """List what was logged of a job and its trials."""
        query = select(TrackingRunRow).where(TrackingRunRow.job_id == job_id).order_by(TrackingRunRow.id)
        with self._reading() as session:
            return tuple(tracking_run_record(row) for row in session.scalars(query))

    def untracked(self, job_id: str, *, after: int = -1, limit: int = 50) -> tuple[TrialChange, ...]:
        """List trials with something that is not logged: epochs, or a state. Lower numbers come first.

        Args:
            job_id: The job.
            after: The last number of the page before.
            limit: At most this many trials.
        """
        query = (
            select(TrialRow, TrackingRunRow)
            .outerjoin(TrackingRunRow, _SAME_TRIAL)
            .where(TrialRow.job_id == job_id, TrialRow.number > after, _IS_BEHIND)
            .order_by(TrialRow.number)
            .limit(limit)
        )
        with self._reading() as session:
            changes = []
            for trial, run in session.execute(query).all():
                measured = select(MeasurementRow).where(
                    MeasurementRow.job_id == job_id,
                    MeasurementRow.trial == trial.number,
                    MeasurementRow.epoch > (run.logged_epochs if run else 0),
                )
                changes.append(
                    TrialChange(
                        trial=trial_record(trial),
                        run=None if run is None else tracking_run_record(run),
                        measurements=tuple(
                            measurement_record(row)
                            for row in session.scalars(measured.order_by(MeasurementRow.epoch))
                        ),
                    )
                )
            return tuple(changes)

    def num_untracked(self, job_id: str) -> int:
        """Count the trials with something that is not logged."""
        query = (
            select(func.count())
            .select_from(TrialRow)
            .outerjoin(TrackingRunRow, _SAME_TRIAL)
            .where(TrialRow.job_id == job_id, _IS_BEHIND)
        )
        with self._reading() as session:
            return session.scalars(query).one()

    def record_tracked(self, job_id: str, runs: Iterable[TrackingRun]) -> None:
        """Put on record what was logged, in one transaction."""
        with self._changing(job_id, even_ended=True) as (session, _):
            for run in runs:
                same = TrackingRunRow.trial.is_(None) if run.trial is None else TrackingRunRow.trial == run.trial
                row = session.scalars(
                    select(TrackingRunRow).where(TrackingRunRow.job_id == job_id, same)
                ).one_or_none()
                if row is None:
                    row = TrackingRunRow(job_id=job_id, trial=run.trial)
                    session.add(row)
                row.run_id, row.logged_epochs, row.logged_state = run.run_id, run.logged_epochs, run.logged_state

    def forget_tracked(self, job_id: str) -> None:
        """Forget what was logged, because the tracking server has forgotten it."""
        with self._changing(job_id, even_ended=True) as (session, _):
            session.execute(delete(TrackingRunRow).where(TrackingRunRow.job_id == job_id))
