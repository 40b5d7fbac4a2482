"""Every test of the store runs on both databases, unless it is about one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Store, sqlite_url


@pytest.fixture
def sqlite_store_url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "home" / "store.db")


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("sqlite_store_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A place for a store where none was made yet."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_store_url")
    else:
        with request.getfixturevalue("postgres_server").database() as url:
            yield url
