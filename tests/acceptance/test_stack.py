"""`up`, `status`, `submit`, `down`: the whole service on one machine, as processes."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from product import Product, Started, wait_until
from workplace import TINY

pytestmark = pytest.mark.slow  # real processes, started and ended again and again


@pytest.fixture
def home(product: Product) -> Path:
    """A home for a stack whose jobs train in their own processes, and a profile file of its own."""
    product.environment |= {
        "TUNELADDER_PROFILE_FILE": str(product.folder / "profiles.toml"),
        "TUNELADDER_ENGINE": "local",
        "TUNELADDER_POLL_S": "0.2",
    }
    return product.folder / "home"


def status(product: Product, home: Path, *, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = product.run("status", "--home", home, "--json", code=code).json
    return found


def part(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [one for one in found["parts"] if one["name"] == name]
    return dict(one)


def test_a_stack_comes_up_runs_a_job_mends_itself_and_goes_down(product: Product, home: Path) -> None:
    up = product.run("up", "--home", home, "--detach")
    token = next(line.split()[1] for line in up.out.splitlines() if line.startswith("token:"))
    assert token.startswith("tl_")
    profile = product.folder / "profiles.toml"
    assert token in profile.read_text()
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    before = status(product, home)
    assert before["is_ready"]
    assert [(one["name"], one["state"]) for one in before["parts"]] == [
        ("mlflow", "running"),
        ("api", "running"),
        ("worker", "running"),
    ]

    refused = product.run("up", "--home", home, code=2)
    assert "one stack serves a home" in refused.err

    job = product.run("submit", product.write_spec(TINY | {"name": "tiny"}), "--json").json
    product.run("watch", job["job_id"])
    shown = product.run("show", job["job_id"], "--profile", "local", "--json").json
    assert shown["state"] == "completed"

    os.kill(part(before, "worker")["pid"], signal.SIGKILL)
    wait_until(lambda: part(json_of(home), "worker")["num_restarts"] == 1, what="the worker has started again")
    wait_until(lambda: part(json_of(home), "worker")["state"] == "running", what="it serves again")
    after = status(product, home)
    assert part(after, "api")["pid"] == part(before, "api")["pid"]

    product.run("down", "--home", home)
    up.assert_nothing_runs()
    assert "token:" not in (home / "logs" / "stack.log").read_text()
    assert token not in "".join(path.read_text() for path in (home / "logs").iterdir())
    assert "is up" in product.run("down", "--home", home).err
    assert not status(product, home)["is_up"]


def json_of(home: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((home / "stack.json").read_text())
    return body


@pytest.fixture
def no_mlflow(product: Product, home: Path) -> None:
    """MLflow's database without its server: seconds less for each start."""
    product.environment["TUNELADDER_MLFLOW_URI"] = f"sqlite:///{home}/mlflow.db"


def wait_until_ready(started: Started, home: Path) -> None:
    wait_until(lambda: "next:" in started.out, what="the stack is ready", process=started)


@pytest.mark.long
@pytest.mark.usefixtures("no_mlflow")
def test_ctrl_c_ends_a_stack_in_order_and_what_a_killed_one_left_is_cleared_away(
    product: Product, home: Path
) -> None:
    first = product.start("up", "--home", home)
    wait_until_ready(first, home)
    ports = json_of(home)["ports"]
    pids = [one["process"]["pid"] for one in json_of(home)["parts"]]
    os.kill(first.popen.pid, signal.SIGKILL)
    first.popen.wait()
    first.assert_nothing_runs()
    assert pids == [one["process"]["pid"] for one in json_of(home)["parts"]]  # of processes that are no more

    second = product.start("up", "--home", home)
    wait_until_ready(second, home)
    assert json_of(home)["ports"] == ports
    assert "token:" not in second.out
    os.killpg(second.popen.pid, signal.SIGINT)
    assert second.wait() == 0
    second.assert_nothing_runs()
    assert [line for line in second.err.splitlines() if line.startswith("ending")] == [
        "ending worker",
        "ending api",
    ]
    assert json_of(home)["parts"] == []


@pytest.mark.usefixtures("no_mlflow")
def test_a_stack_that_cannot_serve_says_why_and_leaves_nothing(product: Product, home: Path) -> None:
    product.environment["TUNELADDER_DATABASE_URL"] = "postgresql://ann:secret@127.0.0.1:1/tuning"
    ended = product.run("up", "--home", home, "--detach", code=2)
    assert "the store must answer" in ended.err
    assert "secret" not in ended.err
    ended.assert_nothing_runs()
