"""What `tuneladder ui` starts really serves the runs of a home."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from followed import finished_job, follower, shown

from service.store import Store
from service.tracking import UI_ENVIRONMENT, ui_command


def get(url: str, body: dict[str, Any] | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "ui.log").open("w") as log:
        process = subprocess.Popen(
            ui_command(home, port=port),
            env=os.environ | UI_ENVIRONMENT,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url, pause = f"http://127.0.0.1:{port}", threading.Event()
    try:
        for _ in range(600):
            assert process.poll() is None, (tmp_path / "ui.log").read_text()
            try:
                assert get(f"{url}/health") == "OK"
                break
            except (urllib.error.URLError, ConnectionError):
                pause.wait(0.1)
        else:
            pytest.fail("the server never answered: " + (tmp_path / "ui.log").read_text())
        yield url
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


def test_the_ui_serves_runs_and_artifacts_and_takes_them(store: Store, home: Path, server: str) -> None:
    job = finished_job(store)
    assert follower(store, job, home).start().stop().is_complete
    api = f"{server}/api/2.0/mlflow"
    name = urllib.parse.quote("digits")
    experiment = json.loads(get(f"{api}/experiments/get-by-name?experiment_name={name}"))["experiment"]
    body = {
        "experiment_ids": [experiment["experiment_id"]],
        "filter": "tags.`tuneladder.kind` = 'trial' and metrics.best_value > 0.85",
    }
    (best,) = json.loads(get(f"{api}/runs/search", body))["runs"]
    assert {param["key"]: param["value"] for param in best["data"]["params"]}["lr"] == "1.0"
    body["filter"] = "tags.`tuneladder.kind` = 'job'"
    (parent,) = json.loads(get(f"{api}/runs/search", body))["runs"]
    run_id = parent["info"]["run_id"]
    table = get(f"{server}/get-artifact?path=trials.csv&run_id={run_id}")
    assert table.startswith("number,stage,round,state")
    assert len(table.splitlines()) == 7
    assert "<html" in get(server)

    # The same through HTTP, as with a server elsewhere: the server decides where artifacts lie.
    through = follower(store, job, home, tracking_uri=server, experiment="through HTTP", artifacts=None)
    report = through.start().stop()
    assert report.is_complete, report.warning
    assert shown(home, "through HTTP") == shown(home)


def test_the_command_names_the_home(tmp_path: Path) -> None:
    command = ui_command(tmp_path, "0.0.0.0", 5050)
    assert command[1:4] == ["-m", "mlflow", "server"]
    assert f"sqlite:///{tmp_path}/mlflow.db" in command
    assert f"file://{tmp_path}/artifacts" in command
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert command[command.index("--port") + 1] == "5050"
