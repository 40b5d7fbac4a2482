"""How a store's URL becomes connections: a SQLite file, or a PostgreSQL server."""

from __future__ import annotations

import json
import math
import select
import sqlite3
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from service.errors import InvalidSpecError

BUSY_TIMEOUT_S = 30  # how long a writer waits for another one; the longest write here takes milliseconds
FRESH_S = 1.0  # a server that was reached so lately is taken to be there still, unless it said that it ends
EXAMPLES = "sqlite:////data/store.db or postgresql://user:password@host/database"

_USED_AT = "used_at"


@dataclass(frozen=True, kw_only=True)
class PostgresOptions:
    """How a process uses a PostgreSQL server. A SQLite file needs none of it.

    A transaction of the store takes milliseconds, so every limit is far above what is normal: it ends what hangs.
    """

    pool_size: int = 10  # connections that stay open; a server takes 100 in all by default
    max_overflow: int = 10  # connections beyond them, closed after use
    pool_timeout_s: float = 10  # how long a thread waits for a free connection
    connect_timeout_s: int = 5
    statement_timeout_s: float = 30
    lock_timeout_s: float = 10
    idle_timeout_s: float = 60  # in a transaction whose process has stopped in the middle


def sqlite_url(path: Path) -> str:
    """Name a SQLite file as a store's URL."""
    return URL.create("sqlite", database=str(path.expanduser().resolve())).render_as_string()


def to_json(value: Any) -> str:
    """Write a document; a text with half of a surrogate pair in it loses that, and not the whole document."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def make_engine(url: str, options: PostgresOptions) -> Engine:
    """Make the engine of a store; nothing is connected yet.

    Raises:
        InvalidSpecError: The URL names neither a SQLite file nor a PostgreSQL database, or the file's folder
            cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidSpecError(f"a store is named by a URL such as {EXAMPLES}, got {_masked(url)!r}") from None
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return _postgres_engine(parsed, options)
    return _sqlite_engine(parsed)


def _masked(url: str) -> str:
    """Hide what may be a password in a text that is no URL."""
    return f"***@{url.rpartition('@')[2]}" if "@" in url else url


def _postgres_engine(parsed: URL, options: PostgresOptions) -> Engine:
    query = dict(parsed.query)
    password = query.pop("password", None)  # a URL shows its query, and hides its password
    limits = {
        "timezone": "UTC",
        "statement_timeout": f"{options.statement_timeout_s * 1000:.0f}",
        "lock_timeout": f"{options.lock_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{options.idle_timeout_s * 1000:.0f}",
    }
    own = " ".join(f"-c {name}={value}" for name, value in limits.items())
    parsed = parsed.set(drivername="postgresql+psycopg", query=query)
    if isinstance(password, str):
        parsed = parsed.set(password=password)
    if not parsed.database:
        raise InvalidSpecError(
            f"a store on PostgreSQL names its database, got {parsed.render_as_string()!r}: write {EXAMPLES}"
        )
    engine = create_engine(
        parsed,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.pool_timeout_s,
        pool_use_lifo=True,  # few connections do the work: those are fresh, see _check_connection
        connect_args={
            "connect_timeout": options.connect_timeout_s,
            "application_name": "tuneladder",
            "options": f"{own} {query['options']}" if "options" in query else own,
            # A host that vanishes is noticed within half a minute, and its locks with it.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
        json_serializer=to_json,
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_check_connection, engine.dialect))
    return engine


def _note_use(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _check_connection(
    dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """Have a server that was restarted cost no error.

    `pool_pre_ping` would cost each question one more message. A connection in constant use is asked only where
    its server has said something unasked, which is that it ends.
    """
    is_fresh = time.monotonic() - record.info.get(_USED_AT, math.inf) < FRESH_S
    if is_fresh and not _has_something_to_read(connection):
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error  # the pool connects anew


def _has_something_to_read(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _sqlite_engine(parsed: URL) -> Engine:
    file = parsed.database
    if parsed.get_backend_name() != "sqlite" or not file or file == ":memory:" or file.startswith("file:"):
        raise InvalidSpecError(
            f"a store is a SQLite file or a PostgreSQL database, got {parsed.render_as_string()!r}: "
            f"write {EXAMPLES}"
        )
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpecError(
            f"the folder of a store must exist or be made, got {Path(file).parent} ({error.strerror}): "
            "choose another home"
        ) from None
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, json_serializer=to_json)
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
