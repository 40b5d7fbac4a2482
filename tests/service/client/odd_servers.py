"""Servers on this machine that answer what a test tells them, byte for byte: proxies, strangers, broken lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it gets."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the connection ends before the body does
    silent: bool = False  # it ends before there is an answer


def problem(status: int, code: str, detail: str, **headers: str) -> Answer:
    body = json.dumps({"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code})
    return Answer(status, body.encode(), "application/problem+json", headers)


def ok(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode())


@dataclass
class OddServer:
    """Gives its answers in turn, the last one for ever."""

    answers: list[Answer]
    url: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def serve(*answers: Answer, wrap: Callable[[Any], Any] | None = None) -> Iterator[OddServer]:
    """Serve on a free port until the block ends; `wrap` makes another socket of the server's, such as TLS."""
    odd = OddServer([*answers])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            odd.requests.append(Request(self.command, self.path, headers, body))
            answer = odd.answers.pop(0) if len(odd.answers) > 1 else odd.answers[0]
            self.close_connection = True
            if answer.silent:
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Connection", "close")
            self.send_header("Content-Length", str(len(answer.body) + (10 if answer.cut else 0)))
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    scheme = "http" if wrap is None else "https"
    odd.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield odd
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
