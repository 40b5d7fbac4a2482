"""Leg functions for the engine's tests: small, real computations that workers import by name."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.legs import Leg, LegResult, Measurement, Member, MemberResult

CONTEXT = {"steps": np.linspace(0.0, 1.0, 100_000)}  # 800 kB: Ray keeps it in shared memory
BIG = 3 * 2**20  # bytes; more than what an engine sends through its desk


class Decay:
    """Curves for an engine that replays: a member's decay, once more with each epoch."""

    def curve(self, params: Mapping[str, Any]) -> Sequence[float]:
        return [params["decay"] ** epoch for epoch in (1, 2, 3)]


def act(context: Any, leg: Leg) -> LegResult:
    """Do what the leg's first member asks for in `params["act"]`."""
    return ACTS[leg.members[0].params["act"]](context, leg)


def make_leg(key: str, act: str, *, first: int = 0, size: int = 2, **params: Any) -> Leg:
    members = tuple(
        Member(number=number, params={"act": act, "decay": 0.5, **params}, seed=number)
        for number in range(first, first + size)
    )
    return Leg(key=key, members=members, start_epoch=0, end_epoch=3)


def walk(context: Any, leg: Leg) -> LegResult:
    """A damped walk per member; its state is the checkpoint, so that legs can be chained."""
    results = []
    for member in leg.members:
        value = float(member.checkpoint.decode()) if member.checkpoint else float(member.seed)
        measurements = []
        for epoch in range(leg.start_epoch + 1, leg.end_epoch + 1):
            value = value * member.params["decay"] + float(context["steps"][epoch])
            measurements.append(Measurement(epoch=epoch, metrics={"val_loss": value}))
        results.append(_member(member, *measurements, checkpoint=repr(value).encode()))
    return LegResult(key=leg.key, members=tuple(results))


def stumble(context: Any, leg: Leg) -> LegResult:
    raise ZeroDivisionError(f"on purpose in {leg.key}")


def confuse(context: Any, leg: Leg) -> LegResult:
    return LegResult(key="another leg", members=())


def digest(context: Any, leg: Leg) -> LegResult:
    """Answer a big checkpoint with its digest and the checkpoint turned around."""
    results = []
    for member in leg.members:
        assert member.checkpoint is not None
        first = float(hashlib.sha256(member.checkpoint).digest()[0])
        results.append(_member(member, _measured(first=first), checkpoint=member.checkpoint[::-1]))
    return LegResult(key=leg.key, members=tuple(results))


def gather(context: Any, leg: Leg) -> LegResult:
    """Wait at a folder until so many legs are there; answer with what this worker sees."""
    folder = Path(leg.members[0].params["folder"])
    (folder / leg.key).touch()
    while len(list(folder.iterdir())) < leg.members[0].params["expected"]:
        time.sleep(0.005)
    seen = f"{os.environ.get('CUDA_VISIBLE_DEVICES')}|{os.getcwd()}|{os.getpid()}"
    return LegResult(key=leg.key, members=tuple(_member(m, checkpoint=seen.encode()) for m in leg.members))


def linger(context: Any, leg: Leg) -> LegResult:
    """Say that the leg has begun, then stay in it for as long as the process lives."""
    Path(leg.members[0].params["folder"], leg.key).touch()
    while True:
        time.sleep(0.05)


def die(context: Any, leg: Leg) -> LegResult:
    """End the worker process at the first `deaths` executions, then walk."""
    folder, deaths = Path(leg.members[0].params["folder"]), leg.members[0].params["deaths"]
    before = len(list(folder.glob(f"{leg.key}-*")))
    if before < deaths:
        (folder / f"{leg.key}-{before}").touch()
        os._exit(1)
    return walk(context, leg)


def inspect(context: Any, leg: Leg) -> LegResult:
    """Say whether the context's array is shared memory, and which process this is."""
    steps: np.ndarray[Any, Any] = context["steps"]
    owned = float(steps.flags.owndata or steps.flags.writeable)
    measured = _measured(owned=owned, pid=float(os.getpid()))
    return LegResult(key=leg.key, members=tuple(_member(member, measured) for member in leg.members))


def _measured(**metrics: float) -> Measurement:
    return Measurement(epoch=1, metrics=metrics)


def _member(member: Member, *measurements: Measurement, checkpoint: bytes | None = None) -> MemberResult:
    return MemberResult(number=member.number, state="running", measurements=measurements, checkpoint=checkpoint)


class CountedContext(dict[str, Any]):
    """A context that leaves a file in its folder each time a process unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_counted, (dict(self),)


def _open_counted(content: dict[str, Any]) -> CountedContext:
    folder = Path(content["folder"])
    (folder / f"{os.getpid()}-{len(list(folder.iterdir()))}").touch()
    return CountedContext(content)


class DeadlyContext:
    """A context that ends each process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


class BadContext:
    """A context that cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


ACTS: dict[str, Callable[[Any, Leg], LegResult]] = {
    "walk": walk,
    "stumble": stumble,
    "confuse": confuse,
    "digest": digest,
    "gather": gather,
    "linger": linger,
    "die": die,
    "inspect": inspect,
}
