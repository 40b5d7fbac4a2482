"""The queue: who runs which job for how long, and what is asked of a job that runs.

A worker claims a job for the time of a lease and renews it. A lease that has ended means that the worker is gone:
the next one claims the job as a new attempt, and the number of the attempt fences off the earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, text
from sqlalchemy.orm import Session

from service.errors import ConflictError
from service.store.database import check_attempt
from service.store.jobs import Jobs, move_job
from service.store.records import JobRecord, JobSummary
from service.store.rows import SUMMARY_COLUMNS, check_length, job_record, job_summary
from service.store.service_records import Actor
from service.store.states import JOB_MOVES, JobState, Wish, check_job_move
from service.store.tables import JobRow

_CLAIM_LOCK = 7_305_001  # any number that nothing else in the database uses


class Queue(Jobs):
    """What the store knows about who runs what."""

    def claim_job(
        self, *, worker: str, lease_s: float, max_running_per_owner: int | None = None
    ) -> JobRecord | None:
        """Take the next job: one that is queued, or one whose worker's lease has ended.

        The highest priority comes first; among equals the owner with the fewest running jobs; then the oldest job.
        Each job goes to one worker. A running job without a lease (a run without a server) is never taken. Where
        a worker is gone, what was asked of its job is carried out at once: such a job is paused or cancelled.

        Args:
            worker: Who asks.
            lease_s: How long the job is the worker's, unless it renews the lease.
            max_running_per_owner: Jobs of an owner with that many running ones wait.

        Returns:
            The job, running as a new attempt; None where none waits.
        """
        check_length("worker", worker, 200)
        with self._writing() as session:
            if self._is_postgres:  # one claim at a time, so that counts of running jobs are right
                session.execute(text(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})"))
            now = self._now(session)
            self._carry_out_wishes(session, now)
            for job_id in _line(session, now, max_running_per_owner):
                query = select(JobRow).where(JobRow.id == job_id, _is_claimable(now))
                row = session.scalars(query.with_for_update(key_share=True, skip_locked=True)).one_or_none()
                if row is not None:
                    self._claim(session, row, worker, now, lease_s)
                    return job_record(row)
            return None

    def next_job(self, *, max_running_per_owner: int | None = None) -> JobSummary | None:
        """Say which job `claim_job` would give, and leave it where it is."""
        with self._reading() as session:
            for job_id in _line(session, self._now(session), max_running_per_owner)[:1]:
                return job_summary(session.execute(select(*SUMMARY_COLUMNS).where(JobRow.id == job_id)).one())
            return None

    def renew_lease(self, job_id: str, attempt: int, lease_s: float) -> JobRecord:
        """Keep the job; the record says what is asked of it.

        Raises:
            LeaseLostError: The job is another attempt's, or runs no more (it may have ended as it should).
        """
        with self._changing(job_id) as (session, row):
            check_attempt(row, attempt)
            row.lease_until = self._now(session) + timedelta(seconds=lease_s)
            session.flush()
            return job_record(row)

    def release_job(
        self,
        job_id: str,
        attempt: int,
        *,
        to: Literal[JobState.QUEUED, JobState.PAUSED] = JobState.QUEUED,
        message: str | None = None,
        died: bool = False,
    ) -> JobRecord:
        """Give the job back before it has ended.

        Args:
            job_id: The job.
            attempt: The attempt that ran it.
            to: Where it goes.
            message: Why.
            died: Its process died; `num_deaths` counts them since the last leg.

        Raises:
            LeaseLostError: The job is another attempt's, or runs no more.
        """
        with self._changing(job_id) as (session, row):
            check_attempt(row, attempt)
            row.num_deaths += died
            self._move(session, row, to, message=message)
            session.flush()
            return job_record(row)

    def ask_for(self, job_id: str, wish: Wish, *, by: Actor | None = None) -> JobRecord:
        """Ask for a pause, the end, or the preemption of a job.

        A job that nobody runs moves at once; one that a worker runs gets the wish, and moves at the end of a leg.
        What is so already stays so. To cancel goes before to pause, that before to preempt.

        Raises:
            NotFoundError: The job is not there.
            ConflictError: Its state forbids it, or it is run without a server, where Ctrl-C pauses it.
        """
        to = _TO[wish]
        with self._changing(job_id) as (session, row):
            if row.state == to:
                return job_record(row)
            check_job_move(job_id, JobState(row.state), to)
            if row.state == JobState.RUNNING and row.lease_until is None:
                raise ConflictError(
                    f"a wish is for a job that a worker runs, got {wish} for job {job_id}, which is run without a "
                    "server: press Ctrl-C there"
                )
            if row.lease_until is not None and row.lease_until >= self._now(session):
                if row.wish is not None and _RANK[Wish(row.wish)] >= _RANK[wish]:
                    return job_record(row)
                row.wish = wish
                self._note_job(session, row)
            else:
                self._move(session, row, to, message=None)
            self._audit(session, by, f"job.{wish}", job_id)
            session.flush()
            return job_record(row)

    def resume_job(self, job_id: str, *, by: Actor | None = None) -> JobRecord:
        """Queue a paused or failed job again, or take back what was asked of a running one (the end aside).

        Raises:
            NotFoundError: The job is not there.
            ConflictError: It has completed, was cancelled, or is about to be.
        """
        with self._changing(job_id) as (session, row):
            if row.wish == Wish.CANCEL:
                raise ConflictError(f"a job that is being cancelled does not go on, got {job_id}: submit it again")
            if row.state == JobState.QUEUED or (row.state == JobState.RUNNING and row.wish is None):
                return job_record(row)
            if row.state == JobState.RUNNING:
                row.wish = None
                self._note_job(session, row)
            else:
                row.ended_at, row.num_deaths = None, 0
                self._move(session, row, JobState.QUEUED, message=None)
            self._audit(session, by, "job.resume", job_id)
            session.flush()
            return job_record(row)

    def set_priority(self, job_id: str, priority: int, *, by: Actor | None = None) -> JobRecord:
        """Say how important the job is; one that runs keeps running until a worker asks for its place.

        Raises:
            NotFoundError: The job is not there.
            ConflictError: It has ended.
        """
        with self._changing(job_id) as (session, row):
            if not JOB_MOVES[JobState(row.state)]:
                raise ConflictError(
                    f"priority is for a job that may still run, got job {job_id}: it is {row.state}"
                )
            if row.priority != priority:
                self._audit(session, by, "job.priority", job_id, {"from": row.priority, "to": priority})
                row.priority = priority
                self._note_job(session, row)
                session.flush()
            return job_record(row)

    def _claim(self, session: Session, row: JobRow, worker: str, now: datetime, lease_s: float) -> None:
        if row.state == JobState.RUNNING:
            row.num_deaths += 1  # its worker is gone
        else:
            move_job(row, JobState.RUNNING)
        row.wish = row.message = row.ended_at = None
        row.worker, row.lease_until = worker, now + timedelta(seconds=lease_s)
        row.attempt += 1
        row.started_at = row.started_at or now
        self._note_job(session, row)
        session.flush()

    def _carry_out_wishes(self, session: Session, now: datetime) -> None:
        """Pause and cancel the jobs that were to be, and whose worker is gone."""
        left = select(JobRow).where(_is_left(now), JobRow.wish.in_([Wish.PAUSE, Wish.CANCEL]))
        for row in session.scalars(left.with_for_update(key_share=True, skip_locked=True)).all():
            assert row.wish is not None
            self._move(session, row, _TO[Wish(row.wish)], message="its worker is gone")


_TO = {Wish.PAUSE: JobState.PAUSED, Wish.CANCEL: JobState.CANCELLED, Wish.PREEMPT: JobState.QUEUED}
_RANK = {Wish.PREEMPT: 0, Wish.PAUSE: 1, Wish.CANCEL: 2}


def _is_left(now: datetime) -> ColumnElement[bool]:
    """Running, and its worker's lease has ended."""
    return and_(JobRow.state == JobState.RUNNING, JobRow.lease_until < now)


def _is_claimable(now: datetime) -> ColumnElement[bool]:
    return or_(JobRow.state == JobState.QUEUED, _is_left(now))


def _line(session: Session, now: datetime, max_running_per_owner: int | None) -> Sequence[str]:
    """List the jobs at the heads of the owners' lines, the next one first.

    Only the oldest of an owner at each priority can be next, so a long queue costs one walk of its index.
    """
    running = select(JobRow.owner, func.count()).where(JobRow.state == JobState.RUNNING, ~_is_left(now))
    num_running: dict[str, int] = dict(session.execute(running.group_by(JobRow.owner)).all())
    heads = select(JobRow.priority, JobRow.owner, func.min(JobRow.id)).group_by(JobRow.priority, JobRow.owner)
    found = [
        *session.execute(heads.where(JobRow.state == JobState.QUEUED)),
        *session.execute(heads.where(_is_left(now))),
    ]
    line = sorted(
        (-priority, num_running.get(owner, 0), job_id)
        for priority, owner, job_id in found
        if max_running_per_owner is None or num_running.get(owner, 0) < max_running_per_owner
    )
    return [job_id for _, _, job_id in line]
