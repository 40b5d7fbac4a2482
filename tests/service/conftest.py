"""Fixtures for tests of the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_process import Served, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server process on a home folder of its own, for the tests of a module."""
    with serve(tmp_path_factory.mktemp("served") / "home") as served:
        yield served
