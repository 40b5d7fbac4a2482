"""`tuneladder ui` serves what a home has tracked, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from service.documents import parse_spec
from service.embedded import run_job
from service.seats import RunOptions

SPEC = {
    "name": "wine",
    "family": "mlp",
    "data": {"name": "wine"},
    "budget": {"epochs": 20, "max_epochs_per_trial": 4},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: dict, process: subprocess.Popen) -> dict:
    """Post until the server answers; fail when it has ended instead."""
    deadline = time.monotonic() + 120
    while True:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            select_a_moment()


def select_a_moment() -> None:
    """Yield the processor for a tenth of a second between two questions."""
    import threading

    threading.Event().wait(0.1)


@pytest.mark.slow
def test_the_ui_serves_the_runs_of_a_home_and_ends_with_its_workers(tmp_path: Path) -> None:
    job = run_job(parse_spec(SPEC), home=tmp_path, options=RunOptions(engine="local"))
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "ui", "--home", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}/api/2.0/mlflow"
        found = ask(f"{base}/experiments/search", {"max_results": 10}, process)
        [experiment] = [e for e in found["experiments"] if e["name"] == "wine"]
        runs = ask(f"{base}/runs/search", {"experiment_ids": [experiment["experiment_id"]]}, process)["runs"]
        assert len(runs) == 1 + job.result["num_trials"]
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
    finally:
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert code == 130
