"""Jobs in the store: made, found, and moved from state to state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict, Unpack

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.errors import ConflictError, IdempotencyConflictError, NotFoundError
from service.store.database import Database, new_id
from service.store.records import JobRecord, Submission
from service.store.rows import check_length, job_record
from service.store.service_records import Actor
from service.store.states import UNFINISHED_TRIALS, JobState, TrialState, check_job_move
from service.store.tables import JobRow, TrialRow


class NewJob(TypedDict, total=False):
    """The arguments of `submit_job`."""

    name: Required[str]
    spec: Required[Mapping[str, Any]]
    spec_fingerprint: Required[str]
    base_dir: Required[str]
    seed: Required[int]
    owner: str
    priority: int
    idempotency_key: str | None
    request_hash: str | None
    by: Actor | None


class Jobs(Database):
    """What the store knows about jobs as a whole."""

    def create_job(self, **values: Unpack[NewJob]) -> JobRecord:
        """Put a job on record; it is queued. Takes what `submit_job` takes, and answers with the job alone."""
        return self.submit_job(**values).job

    def submit_job(
        self,
        *,
        name: str,
        spec: Mapping[str, Any],
        spec_fingerprint: str,
        base_dir: str,
        seed: int,
        owner: str = "local",
        priority: int = 0,
        idempotency_key: str | None = None,
        request_hash: str | None = None,
        by: Actor | None = None,
    ) -> Submission:
        """Put a job on record, once for a key; it is queued.

        Args:
            name: For people.
            spec: The validated document.
            spec_fingerprint: Its hash.
            base_dir: Where its relative paths start.
            seed: Decides everything random in it.
            owner: Whose job it is.
            priority: The queue takes higher ones first.
            idempotency_key: Names the request for good among its owner's, so that it can be made twice safely.
            request_hash: Of all that was asked for.
            by: Who asks.

        Raises:
            IdempotencyConflictError: The key stands for a request with another hash.
        """
        check_length("owner", owner, 100)
        check_length("idempotency_key", idempotency_key, 200)
        while True:
            if idempotency_key is not None and (known := self.find_job_by_key(owner, idempotency_key)):
                if known.request_hash != request_hash:
                    raise IdempotencyConflictError(
                        f"an idempotency key stands for one request, got another one for {idempotency_key!r}, "
                        f"which made job {known.id}: take a new key"
                    )
                return Submission(job=known, is_new=False)
            try:
                with self._writing() as session:
                    now = self._now(session)
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
                        owner=owner,
                        priority=priority,
                        idempotency_key=idempotency_key,
                        request_hash=request_hash,
                        attempt=0,
                        num_deaths=0,
                        num_events=0,
                        updated_at=now,
                    )
                    session.add(row)
                    session.flush()
                    self._note_job(session, row)
                    self._audit(session, by, "job.submit", row.id, {"name": name, "priority": priority})
                    session.flush()
                    return Submission(job=job_record(row), is_new=True)
            except IntegrityError:
                # The same request came twice at once: the other one's job is the answer.
                if idempotency_key is None or self.find_job_by_key(owner, idempotency_key) is None:
                    raise

    def find_job_by_key(self, owner: str, key: str) -> JobRecord | None:
        """Find the job that an idempotency key of this owner made."""
        query = select(JobRow).where(JobRow.owner == owner, JobRow.idempotency_key == key)
        with self._asking() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else job_record(row)

    def job(self, id_or_prefix: str, *, owner: str | None = None) -> JobRecord:
        """Find a job by its id, or by a beginning of it that no other job shares.

        Args:
            id_or_prefix: The id or its beginning.
            owner: Only among the jobs of this owner: another one's are not found.

        Raises:
            NotFoundError: No job has it, or several do.
        """
        with self._asking() as session:
            row = session.get(JobRow, id_or_prefix)
            if row is not None and owner in (None, row.owner):
                return job_record(row)
            # An id is made of digits and lower-case letters: a range of the key holds all that begin alike.
            query = select(JobRow).where(
                JobRow.id.between(id_or_prefix, id_or_prefix + "z" * 13),
                JobRow.id.startswith(id_or_prefix, autoescape=True),
            )
            if owner is not None:
                query = query.where(JobRow.owner == owner)
            found = session.scalars(query.order_by(JobRow.id.desc()).limit(4)).all()
            if not id_or_prefix or not found:
                raise NotFoundError(f"no job has the id {id_or_prefix!r}: `tuneladder jobs` lists them")
            if len(found) > 1:
                some = ", ".join(row.id for row in found[:3])
                raise NotFoundError(f"several jobs begin with {id_or_prefix!r} ({some}, ...): give more of the id")
            return job_record(found[0])

    def latest_job(self, spec_fingerprint: str) -> JobRecord | None:
        """Find the newest job of a spec."""
        query = (
            select(JobRow).where(JobRow.spec_fingerprint == spec_fingerprint).order_by(JobRow.id.desc()).limit(1)
        )
        with self._asking() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else job_record(row)

    def start_job(self, job_id: str) -> JobRecord:
        """Say that a process runs the job now; the process holds its `JobLock`.

        A job that is already running was left so by a process that died: it goes on. A worker's job is the
        worker's while its lease lasts; after that it is taken from it for good.

        Raises:
            ConflictError: The job has completed or was cancelled, or a worker runs it.
        """
        with self._changing(job_id) as (session, row):
            own = self._fence is not None and self._fence.job_id == job_id
            if row.state == JobState.RUNNING and (own or row.lease_until is None):
                return job_record(row)
            if row.lease_until is not None and row.lease_until >= self._now(session):
                raise ConflictError(
                    f"a job is run by one process at a time, got job {job_id}, which worker {row.worker} is "
                    "running: wait for it, or cancel it first"
                )
            if row.state == JobState.RUNNING:
                row.attempt += 1
                row.worker = row.lease_until = row.wish = None
            else:
                move_job(row, JobState.RUNNING)
            row.started_at = row.started_at or self._now(session)
            row.ended_at = row.message = None
            self._note_job(session, row)
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
        with self._changing(job_id) as (session, row):
            self._move(session, row, JobState.PAUSED, message=message)
            session.flush()
            return job_record(row)

    def add_active_time(self, job_id: str, seconds: float) -> None:
        """Add time that a process spent running the job."""
        with self._changing(job_id, even_ended=True) as (session, _):
            session.execute(update(JobRow).where(JobRow.id == job_id).values(active_s=JobRow.active_s + seconds))

    def _end(self, job_id: str, to: JobState, **values: Any) -> JobRecord:
        with self._changing(job_id) as (session, row):
            self._move(session, row, to, **values)
            session.flush()
            return job_record(row)

    def _move(self, session: Session, row: JobRow, to: JobState, **values: Any) -> None:
        """Move a job whose row is locked, with all that belongs to the move."""
        move_job(row, to)
        now = self._now(session)
        if to in {JobState.COMPLETED, JobState.CANCELLED}:
            unfinished = TrialRow.job_id == row.id, TrialRow.state.in_(UNFINISHED_TRIALS)
            session.execute(update(TrialRow).where(*unfinished).values(state=TrialState.CANCELLED, ended_at=now))
        if to in {JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED}:
            row.ended_at = now
        for name, value in values.items():
            setattr(row, name, value)
        self._note_job(session, row)


def move_job(row: JobRow, to: JobState) -> None:
    """Move a job along the table of moves; who runs it, and what was asked of it, ends with `running`.

    Raises:
        ConflictError: The table does not hold the move.
    """
    check_job_move(row.id, JobState(row.state), to)
    row.state = to
    row.worker = row.lease_until = row.wish = None
