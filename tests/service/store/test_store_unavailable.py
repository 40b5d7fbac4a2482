"""A database that does not answer is an error for people: with a remedy, without a password."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer
from sqlalchemy import text
from sqlalchemy.orm import Session
from story import queued_job

from service.errors import InvalidSpecError, StoreUnavailableError, TuneladderError
from service.store import PostgresOptions, Store, engines
from service.store.engines import make_engine

PASSWORD = "correct-horse"


@pytest.fixture
def guarded(postgres_server: PostgresServer) -> Iterator[str]:
    """A user who needs a password, and the name of a database of its own."""
    rules = Path(postgres_server.folder / "data" / "pg_hba.conf")
    before = rules.read_text()
    postgres_server.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    postgres_server.reload()
    try:
        with postgres_server.database() as url:
            name = url.partition("@/")[2].partition("?")[0]
            postgres_server.execute("GRANT ALL ON SCHEMA public TO guarded", name)
            yield name
    finally:
        rules.write_text(before)
        postgres_server.reload()
        postgres_server.execute("DROP ROLE guarded")


def refusal(url: str) -> str:
    """What a person reads, and what stands nowhere in it."""
    with pytest.raises(TuneladderError) as refused:
        Store.open(url, postgres=PostgresOptions(connect_timeout_s=2))
    assert isinstance(refused.value, StoreUnavailableError)
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def test_the_right_password_opens_the_store(postgres_server: PostgresServer, guarded: str) -> None:
    with Store.open(postgres_server.url(guarded, user="guarded", password=PASSWORD)) as store:
        assert queued_job(store).state == "queued"
        with Store.open(store.url) as again:  # as another process would
            assert len(again.jobs()) == 1


def test_a_wrong_password(postgres_server: PostgresServer, guarded: str) -> None:
    said = refusal(postgres_server.url(guarded, user="guarded", password="wrong-horse"))
    assert "password authentication failed" in said
    assert "check user and password" in said
    assert "wrong-horse" not in said
    said = refusal(postgres_server.url(guarded, user="guarded", password="authentication"))
    assert "check user and password" in said  # whatever words the password has in it
    assert "authentication" not in said
    said = refusal(postgres_server.url(guarded, user="guarded"))
    assert "check user and password" in said


def test_a_database_that_is_not_there(postgres_server: PostgresServer) -> None:
    said = refusal(postgres_server.url("nothing"))
    assert 'database "nothing" does not exist' in said
    assert "create it: createdb" in said


def test_a_user_that_is_not_there(postgres_server: PostgresServer) -> None:
    assert "create the user: createuser" in refusal(postgres_server.url("postgres", user="nobody"))


@pytest.mark.parametrize(
    "place",
    ["127.0.0.1:1/db", "/db?host=/nowhere", "no-such-host.invalid/db"],
)
def test_a_server_that_is_not_there(place: str) -> None:
    said = refusal(f"postgresql://ann:{PASSWORD}@{place}")
    assert "ann:***@" in said
    assert "start the server, or check host and port" in said or "check the host" in said


def test_a_password_in_the_query_is_hidden_too() -> None:
    said = refusal(f"postgresql://ann@127.0.0.1:1/db?password={PASSWORD}")
    assert "ann:***@" in said


@pytest.mark.parametrize(
    "url",
    [f"postgresql//ann:{PASSWORD}@host/db", f"postgresql://ann:{PASSWORD}@host:port/db", f"ann:{PASSWORD}@host"],
)
def test_a_url_that_is_none_keeps_its_password_too(url: str) -> None:
    with pytest.raises(
        InvalidSpecError, match=r"a store is named by a URL such as sqlite:.* or postgres"
    ) as refused:
        Store.open(url)
    assert PASSWORD not in str(refused.value)


def test_a_url_names_its_database() -> None:
    with pytest.raises(InvalidSpecError, match=r"names its database, got 'postgresql\+psycopg://ann:\*\*\*@host'"):
        Store.open(f"postgresql://ann:{PASSWORD}@host")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_way_to_write_postgresql_means_psycopg(scheme: str) -> None:
    engine = make_engine(f"{scheme}://ann@host/db?sslmode=require", PostgresOptions())
    assert engine.url.render_as_string() == "postgresql+psycopg://ann@host/db?sslmode=require"


def test_connections_have_limits(postgres_url: str) -> None:
    options = PostgresOptions(statement_timeout_s=7, lock_timeout_s=3, idle_timeout_s=11)
    with Store.open(f"{postgres_url}&options=-c%20work_mem%3D8MB", postgres=options) as store:
        limits = ("TimeZone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        with store._writing() as session:
            found = [shown(session, name) for name in (*limits, "work_mem")]
            writing = [shown(session, f"transaction_{what}") for what in ("isolation", "read_only")]
        with store._reading() as session:
            reading = [shown(session, f"transaction_{what}") for what in ("isolation", "read_only")]
    assert found == ["UTC", "7s", "3s", "11s", "8MB"]
    assert (writing, reading) == (["read committed", "off"], ["repeatable read", "on"])


def shown(session: Session, name: str) -> str:
    return session.execute(text(f"SHOW {name}")).scalar_one()


def test_a_lock_that_is_held_too_long_is_an_error_for_people(postgres_url: str) -> None:
    with Store.open(postgres_url, postgres=PostgresOptions(lock_timeout_s=0.1)) as store:
        job = queued_job(store)
        with store._changing(job.id), pytest.raises(StoreUnavailableError, match=r"lock timeout.*: try again"):
            store.fenced("another", 0).pause_job(job.id)
        assert store.pause_job(job.id).state == "paused"


@pytest.mark.parametrize("fresh_s", [0.0, 60.0], ids=["long-unused", "just-used"])
def test_a_server_that_was_restarted_is_used_again(
    fresh_s: float, postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections of the pool are cut behind its back."""
    monkeypatch.setattr(engines, "FRESH_S", fresh_s)
    with Store.open(postgres_url) as store:
        job = queued_job(store)
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tuneladder'"
        )
        assert store.job(job.id) == job
        assert store.pause_job(job.id).state == "paused"


def test_threads_wait_for_a_connection_and_then_are_told(postgres_url: str) -> None:
    options = PostgresOptions(pool_size=1, max_overflow=0, pool_timeout_s=0.1)
    with Store.open(postgres_url, postgres=options) as store:
        job = queued_job(store)
        told: list[BaseException] = []

        def ask() -> None:
            try:
                store.job(job.id)
            except BaseException as error:
                told.append(error)

        with store._reading() as session:
            session.connection()
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
        assert [type(error) for error in told] == [StoreUnavailableError]
        assert store.job(job.id) == job


def test_a_sqlite_file_that_another_program_keeps_locked(
    sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.engines.BUSY_TIMEOUT_S", 0.05)
    with Store.open(sqlite_store_url) as store:
        job = queued_job(store)
        other = sqlite3.connect(sqlite_store_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"does not \(database is locked\): try again"):
            store.pause_job(job.id)
        assert store.job(job.id) == job
        other.execute("ROLLBACK")
        other.close()
        assert store.pause_job(job.id).state == "paused"
