"""Engines under test. To put another engine under the contract, add its maker to `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import legs
import pytest

from service.engine.base import Engine
from service.engine.cluster import Cluster
from service.engine.local import LocalEngine


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One local Ray for all tests of the session, with four GPUs that exist on paper."""
    with Cluster(num_cpus=8, num_gpus=4) as cluster:
        yield cluster


def _make_local(request: pytest.FixtureRequest, storage: Path) -> Engine:
    return LocalEngine(legs.CONTEXT, legs.act)


def _make_ray_tune(request: pytest.FixtureRequest, storage: Path) -> Engine:
    from service.engine.ray_tune import RayTuneEngine

    cluster = request.getfixturevalue("cluster")
    engine = RayTuneEngine(legs.act, num_slots=2, cpu=1, gpu=0, name="contract", storage=storage, cluster=cluster)
    engine.brief(legs.CONTEXT)
    return engine


MAKERS: dict[str, Callable[[pytest.FixtureRequest, Path], Engine]] = {
    "local": _make_local,
    "ray_tune": _make_ray_tune,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def make_engine(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Callable[[], Engine]:
    """Makes fresh engines over `legs.act` and `legs.CONTEXT`."""
    return lambda: MAKERS[request.param](request, tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def engine(make_engine: Callable[[], Engine]) -> Iterator[Engine]:
    """One engine for all tests that leave it open."""
    with make_engine() as engine:
        yield engine
