"""Bundles in the store: written at a job's end, or asked for and written by a worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import ConflictError, LeaseLostError, NotFoundError
from service.store.database import Database
from service.store.records import ExportRecord
from service.store.rows import export_record, get_job, get_trial
from service.store.service_records import Actor
from service.store.states import ExportState
from service.store.tables import ExportRow, JobRow


class Exports(Database):
    """What the store knows about the bundles of a job."""

    def record_export(self, job_id: str, trial: int, path: str) -> ExportRecord:
        """Put on record that a bundle was written.

        Raises:
            NotFoundError: The job or the trial is not there.
        """
        with self._changing(job_id) as (session, job):
            get_trial(session, job_id, trial)
            now = self._now(session)
            row = ExportRow(
                job_id=job_id,
                trial=trial,
                state=ExportState.COMPLETED,
                path=path,
                attempt=0,
                created_at=now,
                ended_at=now,
            )
            return self._tell(session, job, row)

    def request_export(
        self, job_id: str, formats: Sequence[str] | None = None, *, by: Actor | None = None
    ) -> ExportRecord:
        """Ask for a bundle of the job's winner; a worker writes it.

        Args:
            job_id: The job.
            formats: What the bundle holds; None: what the job's spec says.
            by: Who asks.

        Raises:
            NotFoundError: The job is not there.
            ConflictError: It has no winner.
        """
        with self._changing(job_id) as (session, job):
            if job.best_trial is None:
                raise ConflictError(f"a bundle is of a winner, job {job_id} is {job.state}: wait for it")
            row = ExportRow(
                job_id=job_id,
                trial=job.best_trial,
                state=ExportState.QUEUED,
                formats=None if formats is None else list(formats),
                requested_by=None if by is None else by.owner,
                attempt=0,
                created_at=self._now(session),
            )
            self._audit(session, by, "export.request", job_id, {"formats": row.formats})
            return self._tell(session, job, row)

    def claim_export(self, *, worker: str, lease_s: float = 600) -> ExportRecord | None:
        """Take the oldest bundle that waits, or whose worker's lease has ended; None where there is none."""
        with self._writing() as session:
            now = self._now(session)
            waits = ExportRow.state == ExportState.QUEUED
            is_left = (ExportRow.state == ExportState.RUNNING) & (ExportRow.lease_until < now)
            query = select(ExportRow).where(waits | is_left).order_by(ExportRow.id).limit(1)
            row = session.scalars(query.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            row.state, row.worker, row.message = ExportState.RUNNING, worker, None
            row.lease_until = now + timedelta(seconds=lease_s)
            row.attempt += 1
            session.flush()
            return export_record(row)

    def renew_export(self, export_id: int, attempt: int, *, lease_s: float) -> ExportRecord:
        """Keep a bundle that takes longer.

        Raises:
            LeaseLostError: Another worker has it, or it has ended.
        """
        with self._writing() as session:
            row = _running(session, export_id, attempt)
            row.lease_until = self._now(session) + timedelta(seconds=lease_s)
            session.flush()
            return export_record(row)

    def finish_export(
        self, export_id: int, attempt: int, *, path: str | None = None, message: str | None = None
    ) -> ExportRecord:
        """Say where the bundle lies, or why there is none.

        Args:
            export_id: The bundle.
            attempt: The number that `claim_export` gave.
            path: Where it lies; then it is completed.
            message: Why it failed, where there is no path.

        Raises:
            NotFoundError: Nobody asked for it.
            LeaseLostError: Another worker has it, or it has ended.
        """
        with self._reading() as session:
            job_id = _get(session, export_id).job_id
        with self._changing(job_id) as (session, job):
            row = _running(session, export_id, attempt)
            row.state = ExportState.FAILED if path is None else ExportState.COMPLETED
            row.path, row.message, row.ended_at = path, message, self._now(session)
            row.worker = row.lease_until = None
            return self._tell(session, job, row)

    def export(self, job_id: str, export_id: int) -> ExportRecord:
        """Find a bundle.

        Raises:
            NotFoundError: The job has no such bundle.
        """
        with self._asking() as session:
            row = session.get(ExportRow, export_id)
            if row is None or row.job_id != job_id:
                raise NotFoundError(f"job {job_id} has no export {export_id}: its exports list them")
            return export_record(row)

    def exports(self, job_id: str) -> tuple[ExportRecord, ...]:
        """List the bundles of a job, oldest first."""
        query = select(ExportRow).where(ExportRow.job_id == job_id).order_by(ExportRow.id)
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(export_record(row) for row in session.scalars(query))

    def _tell(self, session: Session, job: JobRow, row: ExportRow) -> ExportRecord:
        session.add(row)
        session.flush()
        fields = ("id", "state", "trial", "path", "message")
        self._note(session, job, "export", {name: getattr(row, name) for name in fields})
        return export_record(row)


def _get(session: Session, export_id: int, *, lock: bool = False) -> ExportRow:
    row = session.get(ExportRow, export_id, with_for_update=lock)
    if row is None:
        raise NotFoundError(f"no export has the id {export_id}: a job's exports list them")
    return row


def _running(session: Session, export_id: int, attempt: int) -> ExportRow:
    row = _get(session, export_id, lock=True)
    if (row.state, row.attempt) != (ExportState.RUNNING, attempt):
        raise LeaseLostError(
            f"a bundle is written by who claimed it last, got attempt {attempt} of export {export_id}, which is "
            f"{row.state} at attempt {row.attempt}: stop writing it"
        )
    return row
