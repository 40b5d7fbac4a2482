"""What a running trial is likely to reach, by what was known when its round was asked for.

A round's decisions may fall before or after the next round is asked for, as its legs end. So each round keeps what
was known when it began, and its decisions follow from that.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from search_spaces import Value
from service.search.cube import Array, Cube
from service.search.surrogate import GaussianProcess

OPTIMISM = 1.0  # standard deviations by which a forecast is better than the mean
CLIP = 3.0  # losses are pressed together beyond the median, up to here: how bad is of no use


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()  # looks for libraries, which takes a millisecond


def one_thread() -> AbstractContextManager[object]:
    """Compute on one thread: sums depend on their number, and so would the job on the machine.

    The slots need the other cores anyway.
    """
    limited: AbstractContextManager[object] = _threads().limit(limits=1, user_api="blas")
    return limited


class Scale:
    """Puts the best loss at 0 and the median at 1, and presses what is worse together.

    Args:
        losses: (N,) finite.
    """

    def __init__(self, losses: Array) -> None:
        self._best = float(losses.min())
        self._spread = max(float(np.median(losses)) - self._best, 1e-12)

    def normalize(self, losses: Array) -> Array:
        """Put losses on the scale: (N,) -> (N,)."""
        scaled = (losses - self._best) / self._spread
        pressed: Array = np.minimum(np.where(scaled > 1, 1 + np.log(np.maximum(scaled, 1)), scaled), CLIP)
        return pressed

    def restore(self, value: float) -> float:
        """Take `normalize` back."""
        return self._best + self._spread * (value if value <= 1 else math.exp(value - 1))


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """Forecasts losses at full length.

    Args:
        cube: Of the space.
        full: Full length, in epochs.
        model: Fitted.
        x: (N, D) inputs that it was fitted to.
        y: (N,) their losses, on the scale.
        scale: Of the losses.
    """

    cube: Cube
    full: int
    model: GaussianProcess
    x: Array
    y: Array
    scale: Scale

    def __call__(self, params: Sequence[Mapping[str, Value]], losses: Sequence[float], epoch: int) -> list[float]:
        """Forecast the losses of trials that were measured at an epoch, on the hopeful side.

        Args:
            params: Of each trial.
            losses: Of each trial at the epoch; finite.
            epoch: The epoch.

        Returns:
            The model's mean less `OPTIMISM` standard deviations, in the unit of the losses.
        """
        with one_thread():
            rows = np.array([self.cube.row(one) for one in params])
            measured = self.scale.normalize(np.array(losses))
            model = copy.copy(self.model)
            model.condition(
                np.vstack([self.x, self.cube.inputs(rows, epoch, full=self.full)]),
                np.concatenate([self.y, measured]),
            )
            mean, std = model.predict(self.cube.inputs(rows, self.full, full=self.full))
        return [self.scale.restore(value) for value in (mean - OPTIMISM * std).tolist()]
