from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text
from story import queued_job

from service.errors import InvalidSpecError, NotFoundError
from service.store import Actor, Role, Store


def test_a_secret_is_said_once_and_never_kept(store: Store) -> None:
    token, secret = store.create_token("laptop", "ann", Role.SUBMITTER)
    assert re.fullmatch(r"tl_[A-Za-z0-9_-]{43}", secret)
    assert (token.name, token.owner, token.role, token.revoked_at) == ("laptop", "ann", Role.SUBMITTER, None)
    engine = create_engine(store.url)
    with engine.connect() as connection:
        kept = " ".join(str(row) for row in connection.execute(text("SELECT * FROM tokens")))
    engine.dispose()
    assert secret not in kept
    assert secret.removeprefix("tl_") not in kept


def test_a_secret_says_who_asks(store: Store) -> None:
    token, secret = store.create_token("laptop", "ann", Role.VIEWER)
    found = store.authenticate(secret)
    assert found is not None
    assert (found.id, found.owner, found.role) == (token.id, "ann", Role.VIEWER)
    for wrong in ("", "tl_", secret[:-1], secret + "x", secret.upper(), "\ud800"):
        assert store.authenticate(wrong) is None


def test_a_token_ends(store_url: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with Store.open(store_url, clock=lambda: now) as store:
        _, secret = store.create_token("ci", "ann", Role.VIEWER, now + timedelta(days=1))
        assert store.authenticate(secret) is not None
        now += timedelta(days=1)
        assert store.authenticate(secret) is None
        with pytest.raises(InvalidSpecError, match=r"expires_at: a token ends in the future, got 2026-01-02"):
            store.create_token("ci", "ann", Role.VIEWER, now)


def test_a_revoked_token_is_good_for_nothing(store: Store) -> None:
    token, secret = store.create_token("laptop", "ann", Role.ADMIN)
    revoked = store.revoke_token(token.id, by=Actor(owner="root"))
    assert revoked.revoked_at is not None
    assert store.authenticate(secret) is None
    assert store.revoke_token(token.id, by=Actor(owner="root")) == revoked
    assert [one.action for one in store.audit()] == ["token.revoke"]
    with pytest.raises(NotFoundError, match="no token has the id 'nothing'"):
        store.revoke_token("nothing")


def test_the_last_use_is_written_once_a_minute(store_url: str) -> None:
    now = start = datetime(2026, 1, 1, tzinfo=UTC)
    with Store.open(store_url, clock=lambda: now) as store:
        _, secret = store.create_token("ci", "ann", Role.VIEWER)
        used = []
        for seconds in (0, 30, 59, 60, 90, 121):
            now = start + timedelta(seconds=seconds)
            store.authenticate(secret)
            (token,) = store.tokens()
            assert token.last_used_at is not None
            used.append((token.last_used_at - start).total_seconds())
    assert used == [0, 0, 0, 60, 60, 121]


def test_tokens_are_listed_by_owner(store: Store) -> None:
    first, _ = store.create_token("a", "ann", Role.VIEWER)
    store.create_token("b", "bob", Role.VIEWER)
    assert [token.id for token in store.tokens("ann")] == [first.id]
    assert {token.owner for token in store.tokens()} == {"ann", "bob"}


@pytest.mark.parametrize("field", ["name", "owner"])
def test_names_fit_their_columns(store: Store, field: str) -> None:
    values = {"name": "a", "owner": "ann"} | {field: "x" * 101}
    with pytest.raises(InvalidSpecError, match=f"{field}: it must have 1 to 100 characters, got 101"):
        store.create_token(values["name"], values["owner"], Role.VIEWER)
    assert store.tokens() == ()


def test_the_audit_is_read_page_by_page_and_outlives_what_it_names(store: Store) -> None:
    job = queued_job(store)
    for number in range(5):
        store.record_audit("ann", None, "job.read", job.id if number % 2 else None, {"number": number})
    pages, after = [], None
    while page := store.audit(limit=2, after=after):
        pages.append([one.detail["number"] for one in page])
        after = page[-1].id
    assert pages == [[4, 3], [2, 1], [0]]
    assert [one.detail["number"] for one in store.audit(job_id=job.id)] == [3, 1]
    assert store.audit(owner="bob") == ()


def test_workers_say_that_they_are_there(store_url: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with Store.open(store_url, clock=lambda: now) as store:
        store.record_worker("w1", {"running": 1})
        now += timedelta(seconds=60)
        store.record_worker("w2")
        assert [worker.name for worker in store.workers()] == ["w1", "w2"]
        assert [worker.name for worker in store.workers(seen_within_s=30)] == ["w2"]
        store.record_worker("w1", {"running": 2})
        first = store.workers(seen_within_s=30)[0]
        assert (first.detail, first.seen_at - first.started_at) == ({"running": 2}, timedelta(seconds=60))
        store.forget_worker("w1")
        assert [worker.name for worker in store.workers()] == ["w2"]
