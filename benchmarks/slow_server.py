"""An MLflow server of its own, and a proxy in front of it that lets every request wait."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from service.tracking import UI_ENVIRONMENT, ui_command

START_S = 180.0  # within which the server must answer; it makes its tables first
REQUEST_S = 60.0  # that a request to the server may take
_OF_ONE_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "content-length"})


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """Start `mlflow server` on an empty database and give its port.

    Raises:
        RuntimeError: It does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ui_command(folder, port=port),
            env=os.environ | UI_ENVIRONMENT,
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait_for(port, process, log)
        yield port
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        psutil.wait_procs(family, timeout=REQUEST_S)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=REQUEST_S) as answer:
                if answer.status == http.client.OK:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"MLflow must answer within {START_S:.0f} s, it did not: {log.read_text()[-2000:]}")


class SlowProxy:
    """Hands every request on to a server on this machine after a pause; a context manager.

    Requests wait each for itself, as they do on a long way: ten at a time take as long as one.

    Args:
        port: Of the server.
        delay_s: The pause.
    """

    def __init__(self, port: int, *, delay_s: float) -> None:
        self.num_requests = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy._count()
                time.sleep(delay_s)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
                try:
                    server.request(self.command, self.path, body=body or None, headers=headers)
                    answer = server.getresponse()
                    text = answer.read()
                finally:
                    server.close()
                self.send_response_only(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in _OF_ONE_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _hand_on  # noqa: N815  http.server's names

            def log_message(self, *_: object) -> None:
                """Keep silent."""

        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _count(self) -> None:
        with self._lock:
            self.num_requests += 1

    def __enter__(self) -> SlowProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
