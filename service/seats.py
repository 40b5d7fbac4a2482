"""The engine of one job and what it stands on: how to run, as opposed to what."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from service.catalog import ResolvedJob
from service.context import leg_context
from service.engine.base import Engine
from service.errors import InvalidSpecError
from service.home import Home
from service.search import Plan
from service.tracking import preload

EngineName = Literal["ray", "local"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, as opposed to what: nothing here changes a result.

    Args:
        engine: `ray` for slots on a cluster, `local` for this process.
        num_slots: Legs at a time; default: as many as the machine has room for.
        address: An existing Ray cluster.
        num_gpus: GPUs that a local Ray offers; default: those that it finds.
        new: Run a job again whose spec has finished here.
    """

    engine: EngineName = "ray"
    num_slots: int | None = None
    address: str | None = None
    num_gpus: int | None = None
    new: bool = False


class Seats:
    """The engine and what it stands on, from start to end; a context manager."""

    def __init__(self, resolved: ResolvedJob, plan: Plan, options: RunOptions, home: Home) -> None:
        self.context = leg_context(resolved, plan)
        self.ray_init_s = 0.0
        self.start_s = 0.0  # of the slots; a cluster's start is not the job's time
        self._resources = resolved.spec.resources
        self._options, self._home, self._name = options, home, resolved.spec.name
        self._stack = ExitStack()

    def __enter__(self) -> Seats:
        began = time.monotonic()
        with ExitStack() as stack:
            self.engine = stack.enter_context(self._open(stack))
            self._stack = stack.pop_all()
        self.start_s = time.monotonic() - began - self.ray_init_s
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> Engine:
        from service.engine.work import run_leg

        if self._options.engine == "local":
            _check_local_gpu(self._resources.gpu)
            from service.engine.local import LocalEngine

            return LocalEngine(self.context, run_leg)
        from service.engine.cluster import Cluster, Seat, count_seats
        from service.engine.ray_tune import RayTuneEngine, local_cpus

        cpu, gpu = self._resources.cpu, self._resources.gpu
        began = time.monotonic()
        wanted = self._options.num_slots
        cluster = stack.enter_context(
            Cluster(
                num_cpus=local_cpus(wanted or 1, cpu),
                num_gpus=self._options.num_gpus,
                address=self._options.address,
            )
        )
        # These imports take as long as Ray's start, and would slow the slots' start down later: side by side.
        import service.engine.trials  # noqa: F401

        preload()
        cluster.wait()
        self.ray_init_s = time.monotonic() - began
        return RayTuneEngine(
            self.context,
            run_leg,
            num_slots=wanted or count_seats(Seat(cpu=cpu, gpu=gpu)),
            cpu=cpu,
            gpu=gpu,
            name=f"{self._name}-{os.getpid()}",
            storage=self._home.ray,
            cluster=cluster,
        )


def _check_local_gpu(gpu: float) -> None:
    if gpu > 0:
        import torch

        if not torch.cuda.is_available():
            raise InvalidSpecError(
                f"a GPU must be there to train on, asked for gpu={gpu:g}, this machine has none: set "
                "resources.gpu: 0, or run on a cluster with GPUs",
                field="resources.gpu",
            )
