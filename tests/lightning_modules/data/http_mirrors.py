"""Mirrors on this machine: real HTTP servers that serve what a test gives them, and count who asks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Mirror:
    """What a server gives: bytes by name; other names are not found.

    Attributes:
        address: Ends in `/`.
        files: Content by name; free to be changed while it serves.
        failures: The next so many requests for a name are answered with 503.
        cut: Names of which half is sent before the connection ends.
        requests: How often each name was asked for.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    cut: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)


@contextmanager
def serve() -> Iterator[Mirror]:
    """Serve on a free port of this machine until the block ends."""
    mirror = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            mirror.requests[name] += 1
            content = mirror.files.get(name)
            if mirror.failures[name] > 0:
                mirror.failures[name] -= 1
                self.send_error(503)
            elif content is None:
                self.send_error(404)
            else:
                self.send_response(200)
                # As some servers do for .gz files; what is wanted is the file as it is.
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if name in mirror.cut else content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.address = f"http://127.0.0.1:{server.server_address[1]}/set/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
