from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Store, sqlite_url


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "home" / "store.db")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened
