"""The health check of the containers, against real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker/healthcheck.py"


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def check(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-IS", SCRIPT, url], capture_output=True, text=True, check=False)


def test_what_answers_is_healthy(port: int) -> None:
    assert check(f"http://127.0.0.1:{port}/healthz").returncode == 0
    assert check(f"tcp://127.0.0.1:{port}").returncode == 0


def test_another_status_is_not(port: int) -> None:
    answer = check(f"http://127.0.0.1:{port}/busy")
    assert answer.returncode == 1
    assert answer.stderr == f"http://127.0.0.1:{port}/busy: must answer 200, got 503\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/healthz", "tcp://127.0.0.1:{}"])
def test_nobody_there_is_not(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    answer = check(url.format(port))
    assert answer.returncode == 1
    assert "refused" in answer.stderr


def test_something_that_speaks_no_http_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-nothing\r\n")
            connection.close()

        thread = threading.Thread(target=babble)
        thread.start()
        assert check(f"http://127.0.0.1:{server.getsockname()[1]}/healthz").returncode == 1
        thread.join()
