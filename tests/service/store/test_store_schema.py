from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from story import a_leg, a_result, running_job

from service.errors import ConflictError, InvalidSpecError
from service.store import Store, sqlite_url
from service.store.schema import VERSION_TABLE, current_version, known_versions, migrate
from service.store.tables import Base


def test_the_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    engine = create_engine(store.url)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # as the store does: a default's moment is in UTC
            connection.execute(text("SET TIME ZONE 'UTC'"))
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []
        assert current_version(connection) == known_versions()[-1]
    engine.dispose()


def test_a_store_goes_down_and_up_again(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    engine = create_engine(store.url)
    with engine.begin() as connection:
        migrate(connection, "base")
        assert current_version(connection) is None
        assert not set(inspect(connection).get_table_names()) & set(Base.metadata.tables)
        if connection.dialect.name == "postgresql":
            left = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            assert connection.execute(text(left)).all() == []
    engine.dispose()
    with Store.open(store.url) as again:
        assert again.jobs() == ()
        assert running_job(again).state == "running"


def test_a_store_keeps_its_jobs_when_it_is_opened_again(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    with Store.open(store.url) as again:
        assert again.job(job.id) == store.job(job.id)
        assert again.leg_result(job.id, leg.key, "f") == store.leg_result(job.id, leg.key, "f")


def test_a_store_that_is_up_to_date_opens_without_alembic(store: Store) -> None:
    code = (
        "import sys\n"
        "from service.store import Store\n"
        "Store.open(sys.argv[1]).close()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, store.url], check=False).returncode == 0


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    engine = create_engine(store.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(ConflictError, match=r"at most as new as the code.*got version 9999.*upgrade tuneladder"):
        Store.open(store.url)


def test_a_failed_migration_leaves_no_half(new_url: str) -> None:
    """Another program's table stands in the way of the last one."""
    if new_url.startswith("sqlite"):
        Path(new_url.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    engine = create_engine(new_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE workers (x INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        Store.open(new_url)
    assert inspect(engine).get_table_names() == ["workers"]
    engine.dispose()


def test_processes_may_open_a_new_store_at_the_same_time(new_url: str) -> None:
    code = (
        "import sys\n"
        "from service.store import Store\n"
        "sys.stdin.readline()\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    store.create_job(name='j', spec={}, spec_fingerprint='f', base_dir='/', seed=0)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, new_url], stdin=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    with Store.open(new_url) as store:
        assert len(store.jobs()) == 4


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/store"])
def test_a_store_is_of_a_kind_that_is_known(url: str) -> None:
    with pytest.raises(
        InvalidSpecError, match=r"a store is a SQLite file or a PostgreSQL.*write sqlite:////data/store.db"
    ):
        Store.open(url)


def test_a_store_needs_a_url() -> None:
    with pytest.raises(InvalidSpecError, match=r"named by a URL such as sqlite:////data/.* or .*, got 'store'"):
        Store.open("store")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a text and not a database. " * 100)
    with pytest.raises(InvalidSpecError, match=r"a store is a SQLite file, got .*store.db.*choose another"):
        Store.open(sqlite_url(path))


def test_a_store_needs_a_folder_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(InvalidSpecError, match=r"folder of a store must exist or be made.*choose another home"):
        Store.open(sqlite_url(tmp_path / "home" / "store.db"))


def test_sqlite_is_set_for_many_readers_one_writer_and_no_loss(sqlite_store_url: str) -> None:
    with Store.open(sqlite_store_url) as store, store._writing() as session:
        connection = session.connection()
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30_000}
