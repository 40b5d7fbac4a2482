"""Engines under test. To put another engine under the contract, add its maker to `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import legs
import pytest

from service.engine.base import Engine
from service.engine.cluster import Cluster
from service.engine.fork_server import ForkServer
from service.engine.local import LocalEngine
from service.engine.replay import ReplayContext, ReplayEngine, replay_leg
from service.legs import Leg, LegResult


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


def _make_forked(request: pytest.FixtureRequest, storage: Path) -> Engine:
    from service.engine.ray_tune import RayTuneEngine

    cluster = request.getfixturevalue("cluster")
    server = ForkServer("service.legs", log=storage / "slots.log")
    engine = RayTuneEngine(
        legs.act, num_slots=2, cpu=1, gpu=0, name="forked", storage=storage, cluster=cluster, fork_server=server
    )
    request.addfinalizer(server.close)
    engine.brief(legs.CONTEXT)
    return engine


def _make_replay(request: pytest.FixtureRequest, storage: Path) -> Engine:
    return ReplayEngine(legs.Decay(), metric="val_loss", max_epochs=3)


def _replayed(leg: Leg) -> LegResult:
    return replay_leg(ReplayContext(curves=legs.Decay(), metric="val_loss", max_epochs=3), leg)


def _acted(leg: Leg) -> LegResult:
    return legs.act(legs.CONTEXT, leg)


MAKERS: dict[str, Callable[[pytest.FixtureRequest, Path], Engine]] = {
    "local": _make_local,
    "ray_tune": _make_ray_tune,
    "forked": _make_forked,
    "replay": _make_replay,
}
ANSWERS: dict[str, Callable[[Leg], LegResult]] = {
    "local": _acted,
    "ray_tune": _acted,
    "forked": _acted,
    "replay": _replayed,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def make_engine(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Callable[[], Engine]:
    """Makes fresh engines over `legs.act` and `legs.CONTEXT`, or over curves."""
    return lambda: MAKERS[request.param](request, tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def engine(make_engine: Callable[[], Engine]) -> Iterator[Engine]:
    """One engine for all tests that leave it open."""
    with make_engine() as engine:
        yield engine


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> Callable[[Leg], LegResult]:
    """What the engine under test has to answer to a leg."""
    return ANSWERS[request.node.callspec.params["make_engine"]]


@pytest.fixture(scope="module", params=["local", "ray_tune", "forked"])
def acting(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Engine]:
    """An engine that runs a leg function and does not look answers up."""
    with MAKERS[request.param](request, tmp_path_factory.mktemp("storage")) as engine:
        yield engine
