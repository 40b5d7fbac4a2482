"""The connection to the database: how SQLite is set, and what a transaction is."""

from __future__ import annotations

import json
import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import ConflictError, InvalidSpecError
from service.store.schema import bring_up_to_date

BUSY_TIMEOUT_S = 30  # how long a writer waits for another one; the longest write here takes milliseconds
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


def sqlite_url(path: Path) -> str:
    """Name a SQLite file as a store's URL."""
    return URL.create("sqlite", database=str(path.expanduser().resolve())).render_as_string()


class Database:
    """A database whose tables are up to date. Safe to share between threads: each transaction has a connection.

    Transactions that write hold SQLite's write lock from their start, so what they read cannot change under them.
    """

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._write_engine = engine.execution_options(writes=True)
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now) -> Self:
        """Open the store at a URL such as `sqlite:////data/store.db`; make or upgrade its tables if needed.

        Raises:
            InvalidSpecError: The URL is not one of a SQLite file, or the file is not a database.
            ConflictError: The store was written by a newer version of this code.
        """
        engine = _sqlite_engine(url)
        database = cls(engine, clock=clock)
        try:
            bring_up_to_date(engine, database._write_engine)
        except BaseException:
            engine.dispose()
            raise
        return database

    @property
    def url(self) -> str:
        """Where the store is; opens the same store in another process."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close the connections that no thread is using."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """One transaction: everything in it is on record when it ends, or nothing is."""
        try:
            with _interrupts_wait(), Session(self._write_engine) as session, session.begin():
                yield session
        except IntegrityError as error:
            if "guard of " in str(error.orig):  # the database's own word on a forbidden move
                raise ConflictError(f"the store refuses this change: {error.orig}") from error
            raise


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM until a transaction has ended, milliseconds later.

    Raised inside it, KeyboardInterrupt leaves the open transaction to a connection that nobody holds any more, and
    the next writer, which says that the job is paused, finds the database locked. Python runs handlers of signals
    in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda received, frame: kept.append(received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # None stands for a handler that Python did not install and cannot install again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for received in kept:
            signal.raise_signal(received)


def _sqlite_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidSpecError(
            f"a store is named by a URL such as sqlite:////data/store.db, got {url!r}"
        ) from None
    file = parsed.database
    if parsed.get_backend_name() != "sqlite" or not file or file == ":memory:" or file.startswith("file:"):
        raise InvalidSpecError(
            f"a store is a SQLite file, got {parsed.render_as_string()!r}: write sqlite:////data/store.db"
        )
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpecError(
            f"the folder of a store must exist or be made, got {Path(file).parent} ({error.strerror}): "
            "choose another home"
        ) from None
    engine = create_engine(
        parsed,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        json_serializer=partial(json.dumps, allow_nan=False, separators=(",", ":"), ensure_ascii=False),
    )
    event.listen(engine, "connect", _set_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _set_connection(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # BEGIN is ours to write, see _begin
    try:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # itself, not a subclass: the file is not a database
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        raise InvalidSpecError(
            f"a store is a SQLite file, got {file}, which is another kind of file: choose another path"
        ) from None
    connection.execute("PRAGMA foreign_keys = ON")
    # A power cut loses nothing either: what was logged elsewhere, or read once, must still be on record. Half a
    # millisecond a commit on a solid-state disk.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail instead of waiting when another one wrote in
    # between, so writers take the lock at once. Source: sqlite.org/lang_transaction.html
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
