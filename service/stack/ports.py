"""The ports of a stack: chosen once, and claimed while the stack is up."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from service.errors import InvalidSettingsError
from service.settings import Settings

LOOPBACK = "127.0.0.1"
API_PORT, MLFLOW_PORT = 8400, 5000  # where people look first; MLflow's own default is the second


@contextmanager
def claim_ports(
    settings: Settings, remembered: Mapping[str, int], *, port: int | None
) -> Iterator[dict[str, int]]:
    """Choose free ports: those of last time, else the usual ones, else any.

    Seconds pass until a part listens, and again whenever it starts anew. Until the block ends, no other stack of
    this machine takes these ports, not even one that starts at the same moment.

    Args:
        settings: Say whether MLflow is a part.
        remembered: The ports of last time.
        port: Of the API, if a person wants that one and no other.

    Raises:
        InvalidSettingsError: That one is taken.
    """
    with ExitStack() as claims:
        if port is not None and not _claim(port, claims):
            raise InvalidSettingsError(
                f"the port of the API must be free, got {port}: end what listens there, or choose another"
            )
        ports = {"api": port or _first_free([remembered.get("api"), API_PORT], claims)}
        if settings.mlflow_uri is None:
            ports["mlflow"] = _first_free([remembered.get("mlflow"), MLFLOW_PORT], claims)
        yield ports


def is_free(port: int) -> bool:
    """Nobody listens there."""
    with socket.socket() as knock:
        knock.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # what waits for its last packets is no listener
        try:
            knock.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _first_free(wanted: Sequence[int | None], claims: ExitStack) -> int:
    for port in wanted:
        if port is not None and _claim(port, claims):
            return port
    while True:
        with socket.socket() as any_port:
            any_port.bind((LOOPBACK, 0))
            port = int(any_port.getsockname()[1])
        if _claim(port, claims):
            return port


def _claim(port: int, claims: ExitStack) -> bool:
    """Take a name that one process of this machine can have; the kernel frees it when that process is gone."""
    if sys.platform == "linux":  # elsewhere there are no such names, and no stack but the first is protected
        claim = claims.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(f"\0tuneladder-port-{port}")
        except OSError:
            return False
    return is_free(port)
