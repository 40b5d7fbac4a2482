"""Which version of the tables a database holds, and how it comes to the newest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from service.errors import ConflictError

SCRIPTS = Path(__file__).parent / "migrations"
_MIGRATES_ALONE = (  # and takes as long as it takes
    "SET LOCAL lock_timeout = 0",
    "SET LOCAL statement_timeout = 0",
    "SELECT pg_advisory_xact_lock(7305000)",
)
VERSION_TABLE = "store_version"  # a name of its own: MLflow's tables may live in the same database


def known_versions() -> list[str]:
    """List the versions that this code can read or bring up to date, oldest first."""
    return sorted(path.name.split("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def current_version(connection: Connection) -> str | None:
    """Read the version of a database; None where there are no tables yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def bring_up_to_date(reading: Engine, writing: Engine) -> None:
    """Run the migrations that are missing, in one transaction; cheap where none is.

    Alembic costs more to import than a store that is up to date costs to open, so it is asked last.

    Raises:
        ConflictError: The database was written by a newer version of this code.
    """
    versions = known_versions()
    with reading.connect() as connection:
        found = current_version(connection)
    if found == versions[-1]:
        return
    if found is not None and found not in versions:
        raise ConflictError(
            f"a store is at most as new as the code that opens it, got version {found} at "
            f"{reading.url.render_as_string()} where this code knows up to {versions[-1]}: upgrade tuneladder, "
            "or use another home"
        )
    with writing.begin() as connection:
        migrate(connection, versions[-1])


def migrate(connection: Connection, version: str) -> None:
    """Bring a database to a version, upwards or downwards (`base` drops every table).

    Args:
        connection: Open, in a transaction that holds SQLite's lock on writing. Of two processes that open a new
            store at the same time, the second finds nothing left to do.
        version: One of `known_versions()`, or `base`.
    """
    if connection.dialect.name == "postgresql":
        for statement in _MIGRATES_ALONE:
            connection.execute(text(statement))
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    attributes: dict[str, Any] = {"connection": connection, "version_table": VERSION_TABLE}
    config.attributes.update(attributes)
    versions = known_versions()
    found = current_version(connection)
    down = version == "base" or (found is not None and versions.index(version) < versions.index(found))
    (command.downgrade if down else command.upgrade)(config, version)
