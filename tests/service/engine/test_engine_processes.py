"""However its driver ends, an engine that started Ray leaves no process behind, and its output is its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from service.engine.cluster import Cluster

HERE = Path(__file__).parent
TIMEOUT_S = 90.0


class Driver:
    """A subprocess that runs `driver.py`, and every process that it was seen to start."""

    def __init__(self, ending: str, folder: Path) -> None:
        self._folder = folder
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "driver.py", ending, folder], stdout=stdout, stderr=stderr
            )
        self.children: set[psutil.Process] = set()

    def look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.children.update(psutil.Process(self.process.pid).children(recursive=True))

    def wait_for_leg(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not (self._folder / "long").exists():
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, "the leg has not begun"
            self.look()
            time.sleep(0.02)
        self.look()

    def wait(self) -> int:
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the driver has not ended"
            self.look()
            time.sleep(0.02)
        return self.process.returncode

    def survivors(self) -> list[psutil.Process]:
        assert len(self.children) >= 5, "Ray has more processes than that"
        return psutil.wait_procs(self.children, timeout=TIMEOUT_S)[1]

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()


@pytest.fixture
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(request.param, tmp_path)
    yield driver
    driver.process.kill()
    driver.process.wait()
    for child in driver.children:
        if child.is_running():
            child.kill()


def drive(*endings: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("driver", endings, indirect=True)


@drive("finish")
def test_after_close_nothing_runs_and_nothing_was_printed(driver: Driver, tmp_path: Path) -> None:
    assert driver.wait() == 0, driver.stderr
    assert (tmp_path / "closed").exists()
    assert driver.survivors() == []
    assert (driver.stdout, driver.stderr) == ("", "")


@pytest.mark.long
@drive("forget")
def test_after_a_driver_that_never_closes_nothing_runs(driver: Driver) -> None:
    assert driver.wait() == 0, driver.stderr
    assert driver.survivors() == []
    assert driver.stdout == ""


@pytest.mark.long
@drive("stay")
def test_ctrl_c_ends_a_run_in_the_middle_of_a_leg_and_everything_with_it(driver: Driver) -> None:
    driver.wait_for_leg()
    driver.process.send_signal(signal.SIGINT)
    assert driver.wait() == -signal.SIGINT
    assert driver.stderr.rstrip().endswith("KeyboardInterrupt")
    assert driver.survivors() == []
    assert driver.stdout == ""


@drive("stay")
@pytest.mark.parametrize("by", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_driver_that_is_killed_takes_everything_with_it(driver: Driver, by: signal.Signals) -> None:
    driver.wait_for_leg()
    driver.process.send_signal(by)
    assert driver.wait() == -by
    assert driver.survivors() == []


def test_an_engine_on_a_cluster_that_is_there_leaves_the_cluster_running(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait()
    before = len(ray.nodes())
    driver = Driver(ray.get_runtime_context().gcs_address, tmp_path)
    assert driver.wait() == 0, driver.stderr
    assert (tmp_path / "closed").exists()
    assert (driver.stdout, driver.stderr) == ("", "")
    assert [node["Alive"] for node in ray.nodes()] == [True] * before


def test_a_cluster_that_is_not_there_is_an_error_with_its_address(tmp_path: Path) -> None:
    driver = Driver("127.0.0.1:9", tmp_path)
    assert driver.wait() == 1
    assert "Ray must be reachable to train" in driver.stderr
    assert "for address '127.0.0.1:9'" in driver.stderr
