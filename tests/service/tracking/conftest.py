from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Store, sqlite_url
from service.tracking import local_artifacts, local_tracking_uri
from service.tracking.server import TrackingServer


@pytest.fixture(scope="session")
def empty_tracking_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with MLflow's tables and no runs: they take more than a second to make."""
    home = tmp_path_factory.mktemp("tracking-template")
    TrackingServer.connect(local_tracking_uri(home), "Default", local_artifacts(home))
    return home


@pytest.fixture
def home(tmp_path: Path, empty_tracking_home: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(empty_tracking_home / "mlflow.db", folder)
    return folder


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with Store.open(sqlite_url(home / "store.db")) as opened:
        yield opened
