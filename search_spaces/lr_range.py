"""From a learning-rate range test to the range that is worth searching.

    loss |----.                        start
         |     \\              /
         |      \\            /  <- blow-up: half of the fall is lost again
         |       \\__________/
         |     steepest    lowest
         +---------------------------- lr, logarithmic

The range goes from a tenth of the learning rate of the steepest fall to the blow-up: a whole training wants less
than a test of a few hundred steps, and never more than what the test did not survive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

NUM_SEEDS = 3  # the median of three ignores one that was unlucky
NUM_STEPS = 150  # about 50 for each factor of ten of the families' range
_WINDOW = 0.1  # share of the steps that a mean spans: one batch's loss is noise
_LEAST_FALL = 0.05  # of the loss at the start; a smaller one is noise, and says nothing
_LOST_AGAIN = 0.5  # share of the fall that is lost again where training blows up
_BELOW_STEEPEST = 10.0  # Smith 2017, sec. 3.3, takes a third or a fourth; a round number beyond both


@dataclass(frozen=True, kw_only=True)
class LrRange:
    """What a range test says."""

    low: float
    high: float
    steepest: float  # learning rate where the loss falls fastest
    blow_up: float | None  # where it has risen again; None if it never did

    def to_dict(self) -> dict[str, float | None]:
        """Describe it as JSON primitives."""
        return asdict(self)


Curve = Mapping[str, Sequence[float | None]]
"""`lr` and `loss` of each step; curves have the same learning rates. One may end early, its last loss be None."""


def smooth_curves(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Give the median over the curves of each curve's moving mean, by learning rate; infinite where most ended."""
    smoothed = [_moving_mean([math.inf if loss is None else loss for loss in curve["loss"]]) for curve in curves]
    rates = max((curve["lr"] for curve in curves), key=len)
    return [
        (float(lr or 0.0), median(losses[i] if i < len(losses) else math.inf for losses in smoothed))
        for i, lr in enumerate(rates)
    ]


def suggest_lr_range(curves: Sequence[Curve], *, low: float, high: float) -> LrRange | None:
    """Read the range that is worth searching from the curves of a few seeds.

    Args:
        curves: At least one.
        low: Of the space; the answer is never below it.
        high: Of the space; the answer is never above it.

    Returns:
        None where the loss does not fall: then the test says nothing.

    Source:
        Smith 2017, arXiv:1506.01186, sec. 3.3.
    """
    points = smooth_curves(curves)
    losses = [loss for _, loss in points]
    lowest = min(range(len(losses)), key=losses.__getitem__)
    fall = losses[0] - losses[lowest]
    if not math.isfinite(fall) or fall <= _LEAST_FALL * abs(losses[0]):
        return None
    slopes = [losses[i + 1] - losses[i] for i in range(lowest)]
    steepest = points[min(range(lowest), key=slopes.__getitem__)][0]
    risen = (lr for lr, loss in points[lowest:] if loss > losses[lowest] + _LOST_AGAIN * fall)
    blow_up = next(risen, None)
    return LrRange(
        low=max(low, steepest / _BELOW_STEEPEST),
        high=high if blow_up is None else min(high, blow_up),
        steepest=steepest,
        blow_up=blow_up,
    )


def _moving_mean(losses: Sequence[float]) -> list[float]:
    reach = max(1, round(_WINDOW * NUM_STEPS / 2))
    windows = (losses[max(0, i - reach) : i + reach + 1] for i in range(len(losses)))
    return [sum(window) / len(window) for window in windows]
