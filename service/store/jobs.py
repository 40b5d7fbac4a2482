"""Jobs in the store: made, found, and moved from state to state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from service.errors import NotFoundError
from service.store.database import Database, new_id
from service.store.records import JobRecord
from service.store.rows import get_job, job_record
from service.store.states import UNFINISHED_TRIALS, JobState, TrialState, check_job_move
from service.store.tables import JobRow, TrialRow


class Jobs(Database):
    """What the store knows about jobs as a whole."""

    def create_job(
        self, *, name: str, spec: Mapping[str, Any], spec_fingerprint: str, base_dir: str, seed: int
    ) -> JobRecord:
        """Put a job on record; it is queued."""
        now = self._clock()
        row = JobRow(
            id=new_id(now),
            name=name,
            state=JobState.QUEUED,
            spec=dict(spec),
            spec_fingerprint=spec_fingerprint,
            base_dir=base_dir,
            seed=seed,
            created_at=now,
            active_s=0.0,
        )
        with self._writing() as session:
            session.add(row)
            session.flush()
            return job_record(row)

    def job(self, id_or_prefix: str) -> JobRecord:
        """Find a job by its id, or by a beginning of it that no other job shares.

        Raises:
            NotFoundError: No job has it, or several do.
        """
        with self._reading() as session:
            row = session.get(JobRow, id_or_prefix)
            if row is not None:
                return job_record(row)
            beginning = JobRow.id.startswith(id_or_prefix, autoescape=True)
            found = session.scalars(select(JobRow).where(beginning).order_by(JobRow.id.desc()).limit(4)).all()
            if not id_or_prefix or not found:
                raise NotFoundError(f"no job has the id {id_or_prefix!r}: `tuneladder jobs` lists them")
            if len(found) > 1:
                some = ", ".join(row.id for row in found[:3])
                raise NotFoundError(f"several jobs begin with {id_or_prefix!r} ({some}, ...): give more of the id")
            return job_record(found[0])

    def jobs(
        self, *, limit: int = 50, after: str | None = None, state: JobState | None = None
    ) -> tuple[JobRecord, ...]:
        """List jobs, newest first.

        Args:
            limit: At most this many.
            after: The last id of the page before.
            state: Only jobs in this state.
        """
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit)
        if after is not None:
            query = query.where(JobRow.id < after)
        if state is not None:
            query = query.where(JobRow.state == state)
        with self._reading() as session:
            return tuple(job_record(row) for row in session.scalars(query))

    def latest_job(self, spec_fingerprint: str) -> JobRecord | None:
        """Find the newest job of a spec."""
        query = (
            select(JobRow).where(JobRow.spec_fingerprint == spec_fingerprint).order_by(JobRow.id.desc()).limit(1)
        )
        with self._reading() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else job_record(row)

    def start_job(self, job_id: str) -> JobRecord:
        """Say that a process runs the job now; the process holds its `JobLock`.

        A job that is already running was left so by a process that died: it goes on.

        Raises:
            ConflictError: The job has completed or was cancelled.
        """
        with self._writing() as session:
            row = get_job(session, job_id)
            if row.state != JobState.RUNNING:
                check_job_move(job_id, JobState(row.state), JobState.RUNNING)
            row.state = JobState.RUNNING
            row.started_at = row.started_at or self._clock()
            row.ended_at = row.message = None
            session.flush()
            return job_record(row)

    def finish_job(self, job_id: str, *, best_trial: int | None, result: Mapping[str, Any]) -> JobRecord:
        """Say that the job has its result. Trials that a budget left unfinished are cancelled."""
        return self._end(job_id, JobState.COMPLETED, best_trial=best_trial, result=dict(result), message=None)

    def fail_job(self, job_id: str, message: str) -> JobRecord:
        """Say why the job could not go on. Its unfinished trials stay: it may be run again."""
        return self._end(job_id, JobState.FAILED, message=message)

    def cancel_job(self, job_id: str, message: str | None = None) -> JobRecord:
        """End the job for good, with its unfinished trials."""
        return self._end(job_id, JobState.CANCELLED, message=message)

    def pause_job(self, job_id: str, message: str | None = None) -> JobRecord:
        """Put the job aside; it may be run again."""
        with self._writing() as session:
            row = get_job(session, job_id)
            check_job_move(job_id, JobState(row.state), JobState.PAUSED)
            row.state, row.message = JobState.PAUSED, message
            session.flush()
            return job_record(row)

    def add_active_time(self, job_id: str, seconds: float) -> None:
        """Add time that a process spent running the job."""
        with self._writing() as session:
            get_job(session, job_id)
            session.execute(update(JobRow).where(JobRow.id == job_id).values(active_s=JobRow.active_s + seconds))

    def _end(self, job_id: str, to: JobState, **values: Any) -> JobRecord:
        with self._writing() as session:
            row = get_job(session, job_id)
            check_job_move(job_id, JobState(row.state), to)
            now = self._clock()
            if to is not JobState.FAILED:
                unfinished = TrialRow.job_id == job_id, TrialRow.state.in_(UNFINISHED_TRIALS)
                session.execute(
                    update(TrialRow).where(*unfinished).values(state=TrialState.CANCELLED, ended_at=now)
                )
            row.state, row.ended_at = to, now
            for name, value in values.items():
                setattr(row, name, value)
            session.flush()
            return job_record(row)
