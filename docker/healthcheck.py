"""Says by its exit code whether something answers: an `http://` URL with 200, a `tcp://host:port` by being open.

A script of its own, run with `python -I -S`, since it runs every few seconds beside what it checks.
"""

import http.client
import socket
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 4.0


def check(url: str) -> None:
    """Raise OSError or HTTPException if nothing healthy answers at the URL."""
    parts = urlsplit(url)
    if parts.scheme == "tcp":
        socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S).close()
        return
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    connection.request("GET", parts.path)
    status = connection.getresponse().status
    if status != http.HTTPStatus.OK:
        raise ConnectionError(f"must answer 200, got {status}")


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
