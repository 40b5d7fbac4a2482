"""The learning-rate range test: the loss of each step while the learning rate grows exponentially.

Source:
    Smith 2017, arXiv:1506.01186, sec. 3.3; the exponential form is that of Smith 2018, arXiv:1803.09820, sec. 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl

from lightning_modules.probing import StepRecord, Steps, take_steps
from lightning_modules.training import TrainingSettings

BLOW_UP = 2.0  # times the loss at the start: what comes after it is divergence
_WINDOW = 5  # steps of a mean, for that alone: one batch's loss is noise


def measure_lr_range(
    module: pl.LightningModule,
    loader: Any,
    *,
    low: float,
    high: float,
    num_steps: int,
    settings: TrainingSettings,
    seed: int,
) -> list[tuple[float, float]]:
    """Train while the learning rate grows from low to high, each step by the same factor.

    The recipe is otherwise the module's own, its schedule aside.

    Args:
        module: A new one.
        loader: Its training batches; they are gone through again where they are fewer than the steps.
        low: Learning rate of the first step.
        high: Learning rate of the last step.
        num_steps: At least 2; fewer are taken where the loss blows up before.
        settings: Those of the module's trials.
        seed: Everything random in the steps follows from it.

    Returns:
        Learning rate and loss of each step; only the last loss may be not finite.
    """
    if not 0 < low < high or num_steps < 2:
        raise ValueError(
            f"0 < low < high and num_steps >= 2 must hold, got {low}, {high}, {num_steps}: widen the range"
        )
    growth = math.log(high / low) / (num_steps - 1)
    record = StepRecord(lambda step, peak: low * math.exp(growth * step), ends=_has_blown_up)
    take_steps(module, Steps(loader, num_steps), record, settings=settings, seed=seed)
    return [(low * math.exp(growth * step), loss) for step, loss in enumerate(record.losses)]


def _has_blown_up(losses: Sequence[float]) -> bool:
    if len(losses) < 2 * _WINDOW:
        return False
    return sum(losses[-_WINDOW:]) > BLOW_UP * sum(losses[:_WINDOW]) > 0
