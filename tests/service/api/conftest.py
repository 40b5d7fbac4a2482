from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import Asks, People, make_people, serving, settings_for

from service.api import create_app
from service.settings import Settings
from service.store import Store, sqlite_url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def sqlite_store_url(home: Path) -> str:
    return sqlite_url(home / "tuneladder.db")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    name = "sqlite_store_url" if request.param == "sqlite" else "postgres_url"
    with Store.open(request.getfixturevalue(name)) as opened:
        yield opened


@pytest.fixture
def people(store: Store) -> People:
    return make_people(store)


@pytest.fixture
def settings(home: Path, store: Store) -> Settings:
    return settings_for(home, database_url=store.url)


@pytest.fixture
def url(settings: Settings, store: Store) -> Iterator[str]:
    """The address of a server with a real socket."""
    with serving(create_app(settings, store)) as address:
        yield address


@pytest.fixture
def ask(url: str, people: People) -> Iterator[Asks]:
    """Sends requests to the server."""
    with httpx.Client(base_url=url, timeout=60) as client:

        def send(who: str | None, method: str, path: str, **kwargs: Any) -> httpx.Response:
            headers = {**people.headers(who), **kwargs.pop("headers", {})}
            return client.request(method, path, headers=headers, **kwargs)

        yield send
