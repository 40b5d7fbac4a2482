"""The parts of the stack: how each is started, and how one knows that it serves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from service.errors import StoreUnavailableError
from service.settings import Settings
from service.stack.ports import LOOPBACK
from service.store import Store
from service.tracking import UI_ENVIRONMENT, ui_command

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
