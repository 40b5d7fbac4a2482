"""The engine of one job and what it stands on: how to run, as opposed to what."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from service.engine.base import Engine
from service.errors import InvalidSpecError
from service.home import Home
from service.importing import settle_finders
from service.spec import Spec

if TYPE_CHECKING:
    from service.engine.fork_server import ForkServer
    from service.engine.ray_tune import RayTuneEngine

EngineName = Literal["ray", "local"]
LEG_FUNCTION = "service.engine.work:run_leg"
BOOT_SWITCH_S = 0.0005  # a thread that starts Ray gets the interpreter so soon from one that imports; else 5 ms


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, as opposed to what: nothing here changes a result.

    Args:
        engine: `ray` for slots on a cluster, `local` for this process.
        num_slots: Legs at a time; default: as many as the machine has room for.
        address: An existing Ray cluster.
        num_gpus: GPUs that a local Ray offers; default: those that it finds.
        new: Run a job again whose spec has finished here.
        share: Jobs that run here at a time: each has room for its part of the machine or cluster.

    Raises:
        InvalidSpecError: What belongs to Ray is given for this process.
    """

    engine: EngineName = "ray"
    num_slots: int | None = None
    address: str | None = None
    num_gpus: int | None = None
    new: bool = False
    share: int = 1

    def __post_init__(self) -> None:
        given = {"slots": self.num_slots, "address": self.address, "num-gpus": self.num_gpus}
        unused = ", ".join(f"--{name} {value}" for name, value in given.items() if value is not None)
        if self.engine == "local" and unused:
            raise InvalidSpecError(
                f"--slots, --address and --num-gpus are for --engine ray, got --engine local with {unused}: leave "
                "them out, for this process trains one leg at a time, or take --engine ray"
            )


class Seats:
    """The engine and what it stands on, from start to end; a context manager.

    Starting takes seconds: Ray, then slots that import torch and Lightning. So `boot` begins with it while this
    process still imports the same and reads the data, and `engine` waits for the rest.

    Args:
        spec: The job; nothing but its name and resources is looked at.
        options: How to run.
        home: Where Ray Tune may write.
    """

    def __init__(self, spec: Spec, options: RunOptions, home: Home) -> None:
        self._resources, self._name = spec.resources, spec.name
        self._options, self._home = options, home
        self._stack = ExitStack()
        self._hurry = ExitStack()  # what holds until the slots are asked for
        self._booting: Future[RayTuneEngine] | None = None
        self._fork_server: ForkServer | None = None
        self.ray_init_s = 0.0

    def __enter__(self) -> Seats:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def boot(self) -> None:
        """Begin to start Ray and the slots, if the job is to run on Ray; returns in about a second."""
        if self._options.engine == "local" or self._booting is not None:
            return
        from service.engine.cluster import Cluster, local_cpus

        settle_finders()
        self._began = time.monotonic()
        self._stack.enter_context(self._hurry)
        self._hurry.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(BOOT_SWITCH_S)
        wanted = self._options.num_slots
        self._cluster = self._stack.enter_context(
            Cluster(
                num_cpus=local_cpus(wanted or 1, self._resources.cpu, share=self._options.share),
                num_gpus=self._options.num_gpus,
                address=self._options.address,
            )
        )
        if self._options.address is None and not self._resources.gpu:  # CUDA does not survive a fork
            from service.engine.fork_server import ForkServer

            self._fork_server = ForkServer(LEG_FUNCTION.partition(":")[0], log=self._home.ray / "slots.log")
            self._stack.callback(self._fork_server.close)
        import service.engine.ray_tune  # noqa: F401  here, as two threads had better not import the same at once

        worker = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="seats"))
        self._booting = worker.submit(self._start_slots)
        self._stack.callback(_close, self._booting)

    def _start_slots(self) -> RayTuneEngine:
        from service.engine.cluster import Seat, count_seats
        from service.engine.ray_tune import RayTuneEngine

        self._cluster.wait()
        self.ray_init_s = time.monotonic() - self._began
        cpu, gpu = self._resources.cpu, self._resources.gpu
        return RayTuneEngine(
            LEG_FUNCTION,
            num_slots=self._options.num_slots or self._room(count_seats(Seat(cpu=cpu, gpu=gpu))),
            cpu=cpu,
            gpu=gpu,
            name=f"{self._name}-{os.getpid()}",
            storage=self._home.ray,
            cluster=self._cluster,
            fork_server=self._fork_server,
        )

    def _room(self, num_seats: int) -> int:
        """Take a part of the seats of a cluster; a local Ray has no more than its part."""
        return num_seats if self._options.address is None else max(1, num_seats // self._options.share)

    def wait_for_ray(self) -> None:
        """Wait until Ray is there, which is not the job's time.

        Raises:
            TuneladderError: It could not be reached or started.
        """
        if self._options.engine == "ray":
            self.boot()
            self._cluster.wait()

    def engine(self, context: Any) -> Engine:
        """Give the engine, briefed with the job's context.

        Raises:
            InvalidSpecError: The machine or the cluster has no room for a slot.
            TuneladderError: Ray could not be reached or started.
        """
        if self._options.engine == "local":
            _check_local_gpu(self._resources.gpu)
            from service.engine.local import LocalEngine
            from service.engine.work import run_leg

            return self._stack.enter_context(LocalEngine(context, run_leg))
        self.boot()
        assert self._booting is not None
        engine = self._booting.result()
        self._hurry.close()
        engine.brief(context)
        return engine


def _close(booting: Future[RayTuneEngine]) -> None:
    """Close what was started; what could not be started has closed itself."""
    if booting.exception() is None:
        booting.result().close()


def _check_local_gpu(gpu: float) -> None:
    if gpu > 0:
        import torch

        if not torch.cuda.is_available():
            raise InvalidSpecError(
                f"a GPU must be there to train on, asked for gpu={gpu:g}, this machine has none: set "
                "resources.gpu: 0, or run on a cluster with GPUs",
                field="resources.gpu",
            )
