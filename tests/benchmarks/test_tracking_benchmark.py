"""The benchmark of tracking: what it computes, and the proxy that makes a server slow."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks import tracking
from benchmarks.slow_server import SlowProxy


def run(wall_s: float, winner_s: float, *, num_left: int = 0, epochs: int = 50) -> dict[str, Any]:
    return {
        "wall_s": wall_s,
        "winner_s": winner_s,
        "flush_s": wall_s - winner_s,
        "num_left": num_left,
        "trials": 10,
        "epochs": epochs,
        "legs": 4,
    }


def test_what_tracking_adds_is_told_with_and_without_the_wait_at_the_end() -> None:
    found = tracking.compare(
        {
            "without": [run(100, 100), run(90, 90), run(110, 110)],
            "local": [run(104, 101)],
            "slow": [run(162, 102, num_left=7)],
        }
    )
    assert found["overhead_share"] == pytest.approx(0.62)
    assert found["training_overhead_share"] == pytest.approx(0.02)
    assert found["local"]["overhead_share"] == pytest.approx(0.04)
    assert found["flush_s"]["slow"] == pytest.approx(60)
    assert found["num_left"]["slow"] == 7
    json.dumps(found)


def test_different_jobs_are_not_compared() -> None:
    with pytest.raises(RuntimeError, match="must have trained the same"):
        tracking.compare({"without": [run(9, 9)], "local": [run(9, 9)], "slow": [run(9, 9, epochs=51)]})


@pytest.mark.parametrize("arguments", [["--variant", "slow"], ["--tracking-uri", "http://127.0.0.1:1"]])
def test_a_server_belongs_to_the_slow_way_alone(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tracking.main(arguments)
    assert "--variant slow and --tracking-uri belong together" in capsys.readouterr().err


@contextmanager
def echo_server() -> Iterator[int]:
    """Answers a request with what it was; /missing with 404."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told = {
                "method": self.command,
                "path": self.path,
                "body": body.decode(),
                "kind": self.headers["X-Kind"],
            }
            text = json.dumps(told).encode()
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("X-Answer", "yes")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", "{}"), ("PUT", "a file"), ("PATCH", "x")])
def test_the_proxy_hands_on_what_it_is_asked_after_its_pause(method: str, body: str | None) -> None:
    with echo_server() as port, SlowProxy(port, delay_s=0.2) as proxy:
        data = None if body is None else body.encode()
        request = urllib.request.Request(f"{proxy.url}/a?b=c", data=data, method=method, headers={"X-Kind": "k"})
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:
            told, headers = json.load(answer), answer.headers
        assert time.perf_counter() - began >= 0.2
    assert told == {"method": method, "path": "/a?b=c", "body": body or "", "kind": "k"}
    assert headers["X-Answer"] == "yes"
    assert proxy.num_requests == 1


def test_the_proxy_hands_errors_back_and_serves_one_connection_again_and_again() -> None:
    with echo_server() as port, SlowProxy(port, delay_s=0.0) as proxy:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{proxy.url}/missing", timeout=30)
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=30)
        for number in range(3):
            connection.request("POST", f"/{number}", body=b"same")
            assert json.load(connection.getresponse())["path"] == f"/{number}"
        connection.close()
    assert proxy.num_requests == 4
