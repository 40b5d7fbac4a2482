"""The connection to Ray: a local Ray of our own, or a cluster that is already there.

The one place that decides how Ray is started, how quiet it is, and how it is ended.

Starting takes seconds, so `Cluster.start` returns at once and `Cluster.wait` gives the outcome. A thread of
its own starts Ray and stays until the end: Linux ends Ray's processes together with the thread that started
them (PR_SET_PDEATHSIG), which is what leaves none behind when this process is killed, and also what would
end them early if a passing thread had started them.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.engine.guard import start_guard
from service.errors import EngineLostError, InvalidSpecError

OBJECT_STORE_BYTES = 2 * 2**30  # upper bound of shared memory for data and legs; what exceeds it goes to disk
KNOCK_TIMEOUT_S = 10.0
_QUIET_LOGGERS = ("ray", "ray.tune", "ray.train", "ray._private", "ray.air", "ray.data")
# Set before Ray is imported, and only where the person has set nothing.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a slot that asked for no GPU sees none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a relative path means the same in the driver and in a slot
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's newer output prints even when told to be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no csv, json and tensorboard files
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own state is never read again: the store is the truth
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
}


@dataclass(frozen=True, kw_only=True)
class Seat:
    """What one slot takes from the cluster."""

    cpu: int  # cores
    gpu: float  # GPUs; a fraction shares one GPU among slots


def local_cpus(num_slots: int, cpu: int, *, share: int = 1) -> int:
    """Cores that a local Ray offers: the machine's, or more if a person asks for more slots than it has.

    Args:
        num_slots: Slots that were asked for, at least one.
        cpu: Cores of a slot.
        share: Jobs at a time, each with a Ray of its own: the cores are divided among them.
    """
    return max((os.cpu_count() or 1) // share, num_slots * cpu)


class Cluster:
    """Ray for this process. A context manager; closing it ends Ray if and only if this object started it.

    Args:
        num_cpus: Cores that a local Ray offers; the machine's own by default.
        num_gpus: GPUs that a local Ray offers; those that it finds by default.
        address: An existing cluster, such as "10.0.0.5:6379"; None starts a local Ray, unless this process
            is connected to one already.
        object_store_bytes: Upper bound of shared memory of a local Ray, in bytes.
    """

    def __init__(
        self,
        *,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        address: str | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
    ) -> None:
        self._arguments: dict[str, Any] = {"address": address}
        if address is None:
            self._arguments = {
                "address": "local",
                "num_cpus": num_cpus or os.cpu_count(),
                "num_gpus": num_gpus,
                "object_store_memory": object_store_bytes,
                "include_dashboard": False,
            }
        self._owned = False
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name="ray-cluster", daemon=True)
        _prepare_environment(address)
        self._thread.start()

    def wait(self) -> None:
        """Block until Ray answers.

        Raises:
            EngineLostError: It could not be reached or started.
        """
        self._ready.wait()
        if self._error is not None:
            where = self._arguments["address"]
            raise EngineLostError(
                f"Ray must be reachable to train, got {self._error!r} for address {where!r}: check that the "
                "cluster runs and that its authentication token is known here"
            ) from self._error

    def close(self) -> None:
        """End Ray if this object started it, and wait until its processes are gone. May be called twice."""
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _live(self) -> None:
        import ray

        try:
            if not ray.is_initialized():
                knock(self._arguments["address"])
                for name in _QUIET_LOGGERS:
                    logging.getLogger(name).setLevel(logging.CRITICAL)
                ray.init(**self._arguments, log_to_driver=False, configure_logging=False)
                self._owned = True
        except BaseException as error:  # whatever it is: wait() raises it where the person sees it
            self._error = error
            ray.shutdown()
        guard = start_guard() if self._owned else None
        self._ready.set()
        self._closing.wait()
        if self._owned:
            ray.shutdown(wait_for_processes=True)
        if guard is not None:
            guard.communicate()  # closes its standard input


def _prepare_environment(address: str | None) -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is not None and _token_exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def knock(address: str) -> None:
    """Raise OSError at once where nothing listens at a cluster's address; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_TIMEOUT_S).close()


def _token_exists() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path.home() / ".ray" / "auth_token").exists()


def check_seat(seat: Seat) -> None:
    """Check that some node of the connected cluster can hold one seat.

    Raises:
        InvalidSpecError: None can; names what was asked, what there is, and the remedy.
    """
    import ray

    list_nodes: Any = ray.nodes
    nodes = [node["Resources"] for node in list_nodes() if node["Alive"]]
    cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    if seat.gpu > gpus:
        raise InvalidSpecError(
            f"one slot must fit on one node: asked for gpu={seat.gpu:g}, the largest node has {gpus:g} GPUs: "
            "lower resources.gpu (0 trains on the CPU), or add a node with GPUs",
            field="resources.gpu",
        )
    if not any(node.get("CPU", 0) >= seat.cpu and node.get("GPU", 0) >= seat.gpu for node in nodes):
        raise InvalidSpecError(
            f"one slot must fit on one node: asked for cpu={seat.cpu} with gpu={seat.gpu:g}, the largest node "
            f"has {cpus:g} CPUs: lower resources.cpu, or add a larger node",
            field="resources.cpu",
        )


def count_seats(seat: Seat) -> int:
    """Count the seats that the connected cluster has room for, at least one."""
    import ray

    seats = 0
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in (node["Resources"] for node in nodes if node["Alive"]):
        rooms = [node.get("CPU", 0.0) / seat.cpu, *([node.get("GPU", 0.0) / seat.gpu] if seat.gpu else [])]
        seats += int(min(rooms) + 1e-9)
    return max(1, seats)
