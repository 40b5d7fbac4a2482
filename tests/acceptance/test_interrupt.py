"""Ctrl-C and SIGTERM: exit code 130, nothing left running, and the same command goes on."""

from __future__ import annotations

import signal
from typing import Any

import psutil
import pytest
from conftest import SMALL
from product import Product, Record, Started, interrupt, wait_until

pytestmark = pytest.mark.slow  # real processes, started and ended again and again


def assert_left_in_order(stopped: Started) -> None:
    assert stopped.wait() == 130, stopped.err
    assert "Traceback" not in stopped.err
    assert stopped.err.count("interrupted") == 1
    stopped.assert_nothing_runs()


@pytest.mark.parametrize("ending", ["terminal", "process", pytest.param("terminate", marks=pytest.mark.long)])
def test_an_interrupted_job_is_paused_and_the_same_command_goes_on(
    ending: str, product: Product, undisturbed: tuple[Record, Any]
) -> None:
    home = product.folder / "home"
    record = Record(home)
    arguments = ["run", product.write_spec(SMALL), "--home", home, "--engine", "local", "--json"]
    started = product.start(*arguments)
    wait_until(lambda: record.count("legs") >= 4, what="four legs are on record", process=started)
    if ending == "terminate":
        started.popen.send_signal(signal.SIGTERM)
    else:
        interrupt(started, group=ending == "terminal")

    assert_left_in_order(started)
    assert "run the same command again to go on" in started.err
    assert started.out == ""
    assert record.states() == ["paused"]
    before = record.legs()
    if ending == "terminal":
        product.run(*arguments)
        assert record.story() == undisturbed[0].story()
        assert before.items() <= record.legs().items()


@pytest.mark.parametrize("group", [True, pytest.param(False, marks=pytest.mark.long)], ids=["terminal", "process"])
def test_ctrl_c_on_ray_leaves_nothing_running(group: bool, product: Product) -> None:
    home = product.folder / "home"
    record = Record(home)
    spec = product.write_spec(SMALL | {"budget": {"epochs": 4000, "max_epochs_per_trial": 4}})
    started = product.start("run", spec, "--home", home, "--slots", "2", "--json")
    wait_until(lambda: record.count("legs") >= 4, what="four legs are on record", process=started)
    interrupt(started, group=group)

    assert_left_in_order(started)
    assert "run the same command again to go on" in started.err
    assert record.states() == ["paused"]


@pytest.mark.long
def test_ctrl_c_while_ray_starts_leaves_nothing_running(product: Product) -> None:
    home = product.folder / "home"
    started = product.start("run", product.write_spec(SMALL), "--home", home, "--slots", "2")
    wait_until(lambda: _runs(started, "raylet"), what="Ray is starting", process=started)
    interrupt(started, group=True)

    assert_left_in_order(started)
    assert Record(home).count("jobs") == 0


def _runs(started: Started, name: str) -> bool:
    names = []
    for process in started.tree():
        try:
            names.append(process.name())
        except psutil.NoSuchProcess:
            continue
    return name in names
