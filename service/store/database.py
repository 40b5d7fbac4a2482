"""A database whose tables are up to date, what a transaction is, and who may write in it."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service.errors import ConflictError, LeaseLostError
from service.interrupts import interrupts_wait
from service.store.engines import PostgresOptions, make_engine
from service.store.rows import get_job
from service.store.schema import bring_up_to_date
from service.store.service_records import Actor, EventKind
from service.store.service_tables import AuditRow, EventRow
from service.store.states import JobState
from service.store.tables import JobRow
from service.store.unavailable import unavailable

_ID_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_ID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Say what time it is, in UTC."""
    return datetime.now(UTC)


def new_id(now: datetime) -> str:
    """Make an id that sorts by time: 9 digits of 0.1 ms (enough until 2136), 4 digits of chance."""
    ticks = int((now - _ID_EPOCH).total_seconds() * 10_000)
    number = (ticks << 20) | secrets.randbits(20)
    return "".join(_ID_DIGITS[(number >> shift) & 31] for shift in range(60, -1, -5))


class Fence(NamedTuple):
    """The only attempt of a job that may still write."""

    job_id: str
    attempt: int


class Database:
    """A database whose tables are up to date. Safe to share between threads: each transaction has a connection.

    A transaction that changes a job holds the lock on its row from its start (SQLite: the lock on writing), so
    what it reads of the job cannot change under it. A transaction that reads sees one moment.
    """

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._is_postgres = engine.dialect.name == "postgresql"
        reads = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if self._is_postgres else {}
        self._read_engine = engine.execution_options(**reads)
        asks = {"isolation_level": "AUTOCOMMIT"} if self._is_postgres else {}
        self._ask_engine = engine.execution_options(**asks)
        self._write_engine = engine.execution_options(writes=True)
        self._clock = clock
        self._fence: Fence | None = None

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now, postgres: PostgresOptions | None = None) -> Self:
        """Open the store at a URL such as `sqlite:////data/store.db`; make or upgrade its tables if needed.

        Args:
            url: Of a SQLite file, or of a PostgreSQL database: `postgresql://user:password@host/database`.
            clock: Says what time it is.
            postgres: Limits of the connections to a PostgreSQL server.

        Raises:
            InvalidSpecError: The URL is not one of a store, or the file is not a database.
            ConflictError: The store was written by a newer version of this code.
            StoreUnavailableError: The server does not answer, or refuses who asks.
        """
        engine = make_engine(url, postgres or PostgresOptions())
        database = cls(engine, clock=clock)
        try:
            bring_up_to_date(database._read_engine, database._write_engine)
        except (OperationalError, InterfaceError) as error:
            engine.dispose()
            if not database._is_postgres:
                raise
            raise unavailable(error, engine.url) from error
        except BaseException:
            engine.dispose()
            raise
        return database

    def fenced(self, job_id: str, attempt: int) -> Self:
        """Give a store in which this attempt alone writes about the job.

        Every method that changes the job first checks, in its own transaction, that the job runs as this attempt,
        and raises `LeaseLostError` otherwise: who lost the lease can record nothing. What is written behind the
        job's end (time, tracking) asks for the attempt alone. Other jobs are not fenced. The fenced store shares
        the connections: closing it closes nothing.
        """
        fenced = copy.copy(self)
        fenced._fence = Fence(job_id, attempt)
        return fenced

    @property
    def url(self) -> str:
        """Where the store is; opens the same store in another process."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close the connections that no thread is using."""
        if self._fence is None:
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """One transaction that sees one moment, and changes nothing."""
        with self._answered(), Session(self._read_engine) as session:
            yield session

    @contextmanager
    def _asking(self) -> Iterator[Session]:
        """Single questions, each of which sees a moment of its own.

        On PostgreSQL they need no transaction: one message in the place of three, and a server answers many.
        """
        with self._answered(), Session(self._ask_engine) as session:
            yield session

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise unavailable(error, self._engine.url) from error

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """One transaction: everything in it is on record when it ends, or nothing is."""
        try:
            with interrupts_wait(), Session(self._write_engine) as session, session.begin():
                session.connection()  # SQLite's lock on writing is ours from here on
                yield session
        except IntegrityError as error:
            if "guard of " in str(error.orig):  # the database's own word on a forbidden move
                raise ConflictError(f"the store refuses this change: {_first_line(error)}") from error
            raise
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise unavailable(error, self._engine.url) from error

    @contextmanager
    def _changing(self, job_id: str, *, even_ended: bool = False) -> Iterator[tuple[Session, JobRow]]:
        """One transaction about a job, which nobody else changes meanwhile.

        Args:
            job_id: The job.
            even_ended: A fenced store may write this behind the job's end.

        Raises:
            NotFoundError: The job is not there.
            LeaseLostError: The store is fenced, and the job is another attempt's or runs no more.
        """
        with self._writing() as session:
            job = get_job(session, job_id, lock=True)
            if self._fence is not None and self._fence.job_id == job_id:
                check_attempt(job, self._fence.attempt, even_ended=even_ended)
            yield session, job

    def _now(self, session: Session) -> datetime:
        """Say the moment of a transaction, which is one for all that it writes."""
        if "now" not in session.info:
            session.info["now"] = self._clock()
        now: datetime = session.info["now"]
        return now

    def _note(self, session: Session, job: JobRow, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Put an event on record with the change that it tells of; the job's row is locked, so none is skipped."""
        now = self._now(session)
        session.add(EventRow(job_id=job.id, number=job.num_events, at=now, kind=kind, data=dict(data)))
        job.num_events += 1
        job.updated_at = now

    def _note_job(self, session: Session, job: JobRow) -> None:
        """Put on record where the job stands now."""
        fields = ("state", "message", "priority", "wish", "worker", "attempt", "best_trial")
        self._note(session, job, "job", {name: getattr(job, name) for name in fields})

    def _audit(
        self,
        session: Session,
        by: Actor | None,
        action: str,
        job_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Put on record who asked for a change, if somebody did."""
        if by is not None:
            session.add(
                AuditRow(
                    at=self._now(session),
                    owner=by.owner,
                    token_id=by.token_id,
                    action=action,
                    job_id=job_id,
                    detail=dict(detail or {}),
                )
            )


def check_attempt(job: JobRow, attempt: int, *, even_ended: bool = False) -> None:
    """Refuse an attempt that is not the job's present one.

    Raises:
        LeaseLostError: It is an earlier one, or the job runs no more.
    """
    if job.attempt != attempt or not (even_ended or job.state == JobState.RUNNING):
        raise LeaseLostError(
            f"a job is run by the attempt that claimed it last, got attempt {attempt} of job {job.id}, which is "
            f"{job.state} at attempt {job.attempt}: stop this process"
        )


def _first_line(error: DBAPIError) -> str:
    """PostgreSQL adds lines on where a trigger stands."""
    return str(error.orig).partition("\n")[0]
