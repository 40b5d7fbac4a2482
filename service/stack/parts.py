"""The parts of the stack: how each is started, and how one knows that it serves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from service.errors import InvalidSettingsError, StoreUnavailableError
from service.settings import Settings
from service.store import Store
from service.tracking import UI_ENVIRONMENT, ui_command

API_PORT, MLFLOW_PORT = 8400, 5000  # where people look first; MLflow's own default is the second
LOOPBACK = "127.0.0.1"
ANSWER_S = 2.0
WORKER_PERIODS = 3  # a worker says that it is there three times within a lease


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the stack.

    Args:
        name: Of the part; it writes to logs/<name>.log.
        command: Starts it.
        environment: Over that of this process.
        serves: Says whether it does what it is there for.
        url: Where it listens, if anywhere.
        grace_s: What it has when it is asked to end, in seconds.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)  # may hold passwords
    serves: Callable[[], bool]
    url: str | None = None
    grace_s: float = 15.0


def make_parts(settings: Settings, ports: Mapping[str, int]) -> tuple[Part, ...]:
    """List the parts in the order in which they start; they end in the opposite one.

    MLflow is left out where the settings name a server. Ray is no part: each job starts one of its own, unless the
    settings name a cluster. So a job that brings its Ray down brings down no other, nothing of it stays in memory
    while there is no job, and Ray's port and token are nobody's concern.
    """
    parts = []
    if "mlflow" in ports:
        url = f"http://{LOOPBACK}:{ports['mlflow']}"
        command = ui_command(settings.home, host=LOOPBACK, port=ports["mlflow"])
        parts.append(
            Part(
                name="mlflow",
                command=command,
                environment=UI_ENVIRONMENT,
                serves=lambda: _answers(f"{url}/health"),
                url=url,
            )
        )
        settings = settings.model_copy(update={"mlflow_uri": url})
    settings = settings.model_copy(update={"port": ports["api"], "host": LOOPBACK})
    environment = settings.environment()
    api = f"http://{LOOPBACK}:{ports['api']}"
    return (
        *parts,
        Part(
            name="api",
            command=[sys.executable, "-m", "service.api"],
            environment=environment,
            serves=lambda: _answers(f"{api}/healthz"),
            url=api,
        ),
        Part(
            name="worker",
            command=[sys.executable, "-m", "service.worker"],
            environment=environment,
            serves=lambda: _is_seen(settings),
            grace_s=settings.grace_s + 30,
        ),
    )


def choose_ports(settings: Settings, remembered: Mapping[str, int], *, port: int | None) -> dict[str, int]:
    """Choose free ports: those of last time, else the usual ones, else any.

    Args:
        settings: Say whether MLflow is a part.
        remembered: The ports of last time.
        port: Of the API, if a person wants that one and no other.

    Raises:
        InvalidSettingsError: That one is taken.
    """
    if port is not None and not is_free(port):
        raise InvalidSettingsError(
            f"the port of the API must be free, got {port}: end what listens there, or choose another"
        )
    ports = {"api": port or _first_free([remembered.get("api"), API_PORT])}
    if settings.mlflow_uri is None:
        ports["mlflow"] = _first_free([remembered.get("mlflow"), MLFLOW_PORT], but=ports["api"])
    return ports


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


def _first_free(wanted: Sequence[int | None], *, but: int | None = None) -> int:
    for port in wanted:
        if port is not None and port != but and is_free(port):
            return port
    with socket.socket() as any_port:
        any_port.bind((LOOPBACK, 0))
        return int(any_port.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=ANSWER_S).is_success
    except httpx.HTTPError:
        return False


def _is_seen(settings: Settings) -> bool:
    try:
        with Store.open(settings.store_url()) as store:
            seen = store.workers(seen_within_s=max(settings.lease_s, 30.0))
    except StoreUnavailableError:
        return False
    return any(worker.name == settings.worker_name for worker in seen)
