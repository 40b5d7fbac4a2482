"""`python -m service.api`: starts, says what it does without a secret, and ends in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from api_parts import SPEC, a_job
from httpx_sse import connect_sse

from service.store import Role, Store, sqlite_url

SLOW = ("torch", "pytorch_lightning", "ray", "optuna", "mlflow", "sklearn", "pandas", "numpy")


def test_the_api_imports_nothing_that_trains() -> None:
    code = f"import sys, service.api.__main__; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@contextmanager
def started(home: Path, log: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start the server as a person would, on any free port, and wait until it says where."""
    environment = {
        **os.environ, "TUNELADDER_HOME": str(home), "TUNELADDER_PORT": "0", "TUNELADDER_WATCH_POLL_S": "0.02",
        **variables,
    }  # fmt: skip
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", "service.api"], env=environment, stderr=stream)
    try:
        while not (found := re.search(r"running on (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def test_a_server_serves_and_ends_in_order(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    with Store.open(sqlite_url(home / "tuneladder.db")) as store, started(home, log) as (process, url):
        token, secret = store.create_token("t", "ann", Role.SUBMITTER)
        headers = {"Authorization": f"Bearer {secret}"}
        answer = httpx.post(f"{url}/v1/jobs", json=SPEC, headers={**headers, "X-Request-Id": "my-request"})
        assert answer.status_code == 201
        job = a_job(store)
        with (
            httpx.Client(timeout=30) as client,
            connect_sse(client, "GET", f"{url}/v1/jobs/{job.id}/events", headers=headers) as source,
        ):
            events = source.iter_sse()
            assert next(events).id == "0"
            process.send_signal(signal.SIGTERM)
            assert list(events) == []  # the stream ends, the connection does not break
        assert process.wait(30) in (0, -signal.SIGTERM)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    entry = next(line for line in lines if line.get("request_id") == "my-request")
    said = {key: entry[key] for key in ("method", "path", "status", "owner", "token_id")}
    assert said == {"method": "POST", "path": "/v1/jobs", "status": 201, "owner": "ann", "token_id": token.id}
    assert secret not in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TUNELADDER_PORT": "http"}, "TUNELADDER_PORT: input should be a valid integer"),
        ({"TUNELADDER_LEASE_S": "0"}, "TUNELADDER_LEASE_S: input should be greater than or equal to 1"),
        ({"TUNELADDER_ALLOWED_MODULES": "shop,my-nets"}, "TUNELADDER_ALLOWED_MODULES: an allowed module is"),
        ({"TUNELADDER_DATABASE_URL": "mysql://u:hunter2@h/d"}, "a store is"),
        ({"TUNELADDER_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}, "the store must answer"),
    ],
)
def test_a_setting_that_is_wrong_is_named(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    environment = {**os.environ, "TUNELADDER_HOME": str(tmp_path), **variables}
    command = [sys.executable, "-m", "service.api"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
