"""Learning-rate schedules by name, each a pure function of the step and of the whole trial's length.

The curve never depends on where a trial is cut into legs: `max_epochs` is the length of the whole trial, and a
schedule that is restored from its `state_dict` goes on where it stood.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lightning_modules.errors import ConfigError
from lightning_modules.registry import Entry, Registry

if TYPE_CHECKING:
    from lightning_modules.recipe import Recipe

Curve = Callable[[int], float]
"""Factor on the peak learning rate at a step, counted from 0."""

_STEP_DROP = 0.1  # He et al. 2016, sec. 4.2: divided by 10 at 32k and 48k of 64k steps
_STEP_AT = (0.5, 0.75)
_EXPONENTIAL_END = 0.01  # share of the peak that is left at the end of the trial
_ONE_CYCLE_RISE, _ONE_CYCLE_START, _ONE_CYCLE_END = 0.3, 1 / 25, 1e-4 / 25  # torch's OneCycleLR defaults
_PLATEAU_FACTOR = 0.5
_LONGEST_WARMUP = 0.5  # of the trial: a warm-up that never ends would train no network


def _constant(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    return lambda step: 1.0


def _step(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    num_epochs = num_steps // steps_per_epoch

    def factor(step: int) -> float:
        epoch = step // steps_per_epoch
        return _STEP_DROP ** sum(epoch >= share * num_epochs for share in _STEP_AT)

    return factor


def _exponential(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    num_epochs = num_steps // steps_per_epoch
    return lambda step: _EXPONENTIAL_END ** (min(step // steps_per_epoch, num_epochs) / num_epochs)


def _cosine(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step / num_steps, 1.0)))


def _warmup_cosine(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    fall = _cosine(max(num_steps - warmup_steps, 1), 0, steps_per_epoch)
    return lambda step: (step + 1) / (warmup_steps + 1) if step < warmup_steps else fall(step - warmup_steps)


def _warmup_linear(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    fall_steps = max(num_steps - warmup_steps, 1)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return max(1.0 - (step - warmup_steps) / fall_steps, 0.0)

    return factor


def _one_cycle(num_steps: int, warmup_steps: int, steps_per_epoch: int) -> Curve:
    top = _ONE_CYCLE_RISE * num_steps - 1.0
    last = num_steps - 1.0

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * min(max(share, 0.0), 1.0)))

    def factor(step: int) -> float:
        if top > 0 and step <= top:
            return between(_ONE_CYCLE_START, 1.0, step / top)
        return between(1.0, _ONE_CYCLE_END, (step - max(top, 0.0)) / max(last - max(top, 0.0), 1.0))

    return factor


SCHEDULES: Registry[Curve] = Registry(
    "schedule",
    [
        Entry(
            name="constant",
            factory=_constant,
            formula="lr",
            range="lr",
            used_for="range tests, and baselines of other schedules",
            source="-",
        ),
        Entry(
            name="step",
            factory=_step,
            formula="lr / 10 from half of the epochs, lr / 100 from three quarters",
            range="lr / 100 to lr; changes per epoch",
            used_for="convolutional nets with sgd kinds",
            source="He et al. 2016, arXiv:1512.03385, sec. 4.2",
        ),
        Entry(
            name="exponential",
            factory=_exponential,
            formula="lr * 0.01^(epoch / max_epochs)",
            range="lr / 100 to lr; changes per epoch",
            used_for="smooth decay without a plan",
            source="torch.optim.lr_scheduler.ExponentialLR",
        ),
        Entry(
            name="cosine",
            factory=_cosine,
            formula="lr (1 + cos(pi step / num_steps)) / 2",
            range="0 to lr; changes per step",
            used_for="the default",
            source="Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5",
        ),
        Entry(
            name="warmup_cosine",
            factory=_warmup_cosine,
            formula="a linear rise over warmup_epochs, then cosine",
            range="0 to lr; changes per step",
            used_for="large learning rates, deep nets, layer norm",
            source="Goyal et al. 2017, arXiv:1706.02677, sec. 2.2",
        ),
        Entry(
            name="warmup_linear",
            factory=_warmup_linear,
            formula="a linear rise over warmup_epochs, then a linear fall to 0",
            range="0 to lr; changes per step",
            used_for="fine-tuning",
            source="Devlin et al. 2019, arXiv:1810.04805, app. A.2",
        ),
        Entry(
            name="one_cycle",
            factory=_one_cycle,
            formula="cosine from lr / 25 to lr over 30 % of the steps, then cosine to lr / 250,000",
            range="lr / 250,000 to lr; changes per step",
            used_for="few epochs at a high peak",
            source="Smith & Topin 2018, arXiv:1708.07120",
        ),
        Entry(
            name="plateau",
            factory=_constant,
            formula="lr halves when val_loss has not improved for a tenth of the epochs",
            range="follows val_loss; may change per epoch",
            used_for="trainings of unknown length",
            source="torch.optim.lr_scheduler.ReduceLROnPlateau",
        ),
    ],
    title="Schedules",
    about="A curve spans the whole trial, however it is cut into legs, and follows from the step or from the "
    "epoch, as stated. `lightning_modules.schedules.preview` lists it without training.",
)

_PER_EPOCH = frozenset({"step", "exponential", "plateau"})


def make_curve(recipe: Recipe, *, steps_per_epoch: int, max_epochs: int) -> Curve:
    """Make the function from a step (from 0) to the factor on `recipe.lr`.

    Per-epoch schedules are constant within an epoch. `plateau`, which follows the validation loss, counts as
    constant here.

    Args:
        recipe: Reads `schedule` and `warmup_epochs`.
        steps_per_epoch: Optimizer steps in one epoch; at least 1.
        max_epochs: Epochs of the whole trial, not of a leg; at least 1.

    Raises:
        ConfigError: One of the counts is below 1.
    """
    if steps_per_epoch < 1 or max_epochs < 1:
        raise ConfigError(
            f"a trial has at least one step, got {steps_per_epoch=}, {max_epochs=}: lower the batch size or raise "
            "the epochs",
            field="schedule",
        )
    num_steps = steps_per_epoch * max_epochs
    warmup_steps = round(recipe.warmup_epochs * steps_per_epoch) if recipe.schedule.startswith("warmup") else 0
    longest = int(_LONGEST_WARMUP * num_steps)
    if warmup_steps > longest:
        warnings.warn(
            f"warmup_epochs is cut to half of the trial: {recipe.warmup_epochs} asked, {max_epochs} epochs in all",
            stacklevel=2,
        )
        warmup_steps = longest
    return SCHEDULES[recipe.schedule].factory(num_steps, warmup_steps, steps_per_epoch)


def make_schedule(
    optimizer: Optimizer, recipe: Recipe, *, steps_per_epoch: int, max_epochs: int
) -> dict[str, Any] | None:
    """Make Lightning's `lr_scheduler` dict, or None for a constant learning rate.

    `interval` says when the learning rate changes: "epoch" for step, exponential and plateau, "step" for all
    others. Only plain numbers reach the `state_dict`, so checkpoints load with `weights_only=True`.

    Raises:
        ConfigError: As `make_curve`.
    """
    curve = make_curve(recipe, steps_per_epoch=steps_per_epoch, max_epochs=max_epochs)
    if recipe.schedule == "constant":
        return None
    if recipe.schedule == "plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=_PLATEAU_FACTOR, patience=max(1, max_epochs // 10))
        return {"scheduler": plateau, "interval": "epoch", "frequency": 1, "monitor": "val_loss", "strict": True}
    if recipe.schedule in _PER_EPOCH:
        by_epoch = LambdaLR(optimizer, lambda epoch: curve(epoch * steps_per_epoch))
        return {"scheduler": by_epoch, "interval": "epoch", "frequency": 1}
    return {"scheduler": LambdaLR(optimizer, curve), "interval": "step", "frequency": 1}


def preview(recipe: Recipe, *, steps_per_epoch: int, max_epochs: int) -> list[float]:
    """List the learning rate of every step of a trial without training.

    `plateau` is listed at its peak throughout: its falls depend on the validation loss.

    Returns:
        `steps_per_epoch * max_epochs` learning rates.

    Raises:
        ConfigError: As `make_curve`.
    """
    curve = make_curve(recipe, steps_per_epoch=steps_per_epoch, max_epochs=max_epochs)
    return [recipe.lr * curve(step) for step in range(steps_per_epoch * max_epochs)]
