"""Legs answered from measured learning curves: search research in seconds instead of days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.engine.local import LocalEngine
from service.legs import Leg, LegResult, Measurement, Member, MemberResult


class Curves(Protocol):
    """Measured curves, looked up by params."""

    def curve(self, params: Mapping[str, Any]) -> Sequence[float]:
        """Give the objective after epoch 1, 2, ... of a full training; not finite where nothing is known."""
        ...


@dataclass(frozen=True, kw_only=True)
class ReplayContext:
    """What a replayed leg needs beside itself.

    Args:
        curves: Where values come from.
        metric: The name under which they are measured.
        max_epochs: Length of a full training.
    """

    curves: Curves
    metric: str
    max_epochs: int


def replay_leg(context: ReplayContext, leg: Leg) -> LegResult:
    """Answer a leg as if its members had been trained; a curve that ends in nothing finite has diverged."""
    return LegResult(key=leg.key, members=tuple(_replay(context, leg, member) for member in leg.members))


def _replay(context: ReplayContext, leg: Leg, member: Member) -> MemberResult:
    curve = context.curves.curve(member.params)
    values = [float(value) for value in curve[leg.start_epoch : leg.end_epoch]]
    if leg.end_epoch < context.max_epochs:
        state = "running"
    else:
        state = "completed" if any(math.isfinite(value) for value in values) else "diverged"
    return MemberResult(
        number=member.number,
        state=state,  # type: ignore[arg-type]
        measurements=tuple(
            Measurement(epoch=epoch, metrics={context.metric: value if math.isfinite(value) else None})
            for epoch, value in enumerate(values, start=leg.start_epoch + 1)
        ),
        # A leg that starts later gets a checkpoint like any other; this one says only that there is one.
        checkpoint=b"replayed",
    )


class ReplayEngine(LocalEngine):
    """Answers legs from curves, in this process, through the same rounds, rungs and store as a real job.

    Args:
        curves: Where values come from.
        metric: The name under which they are measured.
        max_epochs: Length of a full training.
    """

    def __init__(self, curves: Curves, *, metric: str, max_epochs: int) -> None:
        super().__init__(ReplayContext(curves=curves, metric=metric, max_epochs=max_epochs), replay_leg)
