"""The check before tuning: a network that cannot learn a handful of rows by heart will learn nothing from more.

    loss
    reference  ---------   what the best constant prediction costs on the rows (MSE: the target's variance)
                 \\
    goal       ---\\-----   floor + a tenth of the way up to the reference
    floor      ---------   what the best function of the inputs costs: 0, unless rows of equal inputs disagree

A network that uses its inputs gets below the goal within a few dozen steps; one that does not stays at the
reference. A module of a person's own has a loss whose floor nobody knows: there a fall by a tenth is enough.

Source:
    Karpathy 2019, A Recipe for Training Neural Networks ("overfit a single batch of only a few examples").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.blocks.dropout import VariationalDropout
from lightning_modules.data.base import DataInfo, Split
from lightning_modules.losses import num_outputs
from lightning_modules.probing import StepRecord, Steps, take_steps
from lightning_modules.task import SupervisedTask
from lightning_modules.training import TrainingSettings

NUM_ROWS = 8  # few: even a narrow network has weights enough, and a step costs next to nothing
NUM_STEPS = 300  # of one attempt; an attempt that succeeds ends after a few dozen
SHARE = 0.1  # of the way from the floor to the reference that may be left; of an unknown loss, what must be gone
LR_FACTORS = (1.0, 0.1, 10.0)  # tried in this order before a network is blamed
_PROPORTIONAL = 5.0  # times the fall at ten times the learning rate: half of exactly proportional
_DROPOUTS = (nn.modules.dropout._DropoutNd, VariationalDropout)

Outcome = Literal["passed", "other_lr", "failed"]
Suspect = Literal["inputs", "labels", "loss", "learning rate", "network"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Between what the loss of a batch can lie.

    Args:
        reference: Of the best constant prediction.
        floor: Of the best function of the inputs.
    """

    reference: float
    floor: float

    @property
    def goal(self) -> float:
        """The loss that is near enough to the floor."""
        return self.floor + SHARE * (self.reference - self.floor)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One training on the batch."""

    lr_factor: float
    num_steps: int
    first_loss: float | None  # None is not finite, as in all records
    best_loss: float | None
    reached: bool


@dataclass(frozen=True, kw_only=True)
class OverfitReport:
    """What came of the check.

    Outcomes: passed, other_lr (at another learning rate than the one given), failed.

    Attributes:
        outcome: See above.
        suspect: What looks broken; None where all is well.
        message: Why, in a sentence.
        falls: Whether the loss fell noticeably at the learning rate that was given.
        attempts: In their order.
    """

    outcome: Outcome
    suspect: Suspect | None
    message: str
    falls: bool
    attempts: tuple[Attempt, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Describe it as JSON primitives."""
        return {**asdict(self), "attempts": [asdict(attempt) for attempt in self.attempts]}


def pick_rows(split: Split, info: DataInfo, *, num_rows: int = NUM_ROWS) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose rows with targets as different as the split has them: of all classes in turn, or from low to high.

    Returns:
        Row numbers, (num_rows,) or fewer where the split has fewer.
    """
    order = np.argsort(split.target, kind="stable")
    if info.task == "regression":
        places = np.linspace(0, len(order) - 1, num=min(num_rows, len(order))).round().astype(np.int64)
        return np.asarray(order[places], dtype=np.int64)
    by_class = [order[split.target[order] == label] for label in np.unique(split.target)]
    longest = max(map(len, by_class))
    in_turn = [rows[i] for i in range(min(longest, num_rows)) for rows in by_class if i < len(rows)]
    return np.array(in_turn[:num_rows], dtype=np.int64)


def loss_bounds(loss: nn.Module, inputs: Mapping[str, Tensor], target: Tensor, *, num_columns: int) -> Bounds:
    """Work out what a constant and what the best function of the inputs would cost.

    Args:
        loss: Of the family's task, called as `loss(logits, target)`.
        inputs: Of the batch, (B, ...) each.
        target: (B,).
        num_columns: Of the logits.
    """
    everyone = torch.zeros(len(target), dtype=torch.int64)
    rows = torch.cat([x.reshape(len(target), -1).double() for x in inputs.values()], dim=1)
    groups = torch.unique(rows, dim=0, return_inverse=True)[1]
    return Bounds(
        reference=float(loss(_best_outputs(target, everyone, num_columns), target)),
        floor=float(loss(_best_outputs(target, groups, num_columns), target)),
    )


def _best_outputs(target: Tensor, groups: Tensor, num_columns: int) -> Tensor:
    """Give each row what its group's rows say on average: log shares of the classes, or the mean, (B, columns)."""
    same = (groups[:, None] == groups).double()
    same /= same.sum(dim=1, keepdim=True)
    if target.is_floating_point():
        return (same @ target.double())[:, None].to(target.dtype)
    classes = nn.functional.one_hot(target, max(num_columns, 2)).double()
    log_shares = (same @ classes).clamp_min(1e-9).log().float()
    return log_shares if num_columns > 1 else log_shares[:, 1:] - log_shares[:, :1]


def check_overfit(
    make: Callable[[], pl.LightningModule],
    batch: Any,
    *,
    settings: TrainingSettings,
    seed: int,
) -> OverfitReport:
    """Train on one batch alone, without dropout, weight decay, label smoothing and schedule.

    Args:
        make: Makes the module anew, with the same weights each time.
        batch: Of a handful of rows, on the CPU; they are not augmented.
        settings: Those of the module's trials.
        seed: Everything random follows from it.
    """
    module = make()
    _switch_off_regularization(module)
    bounds = _bounds(module, batch) if isinstance(module, SupervisedTask) else None
    if broken := _broken_batch(batch, bounds):
        return broken
    attempts: list[Attempt] = []
    frozen: list[str] = []
    for factor in LR_FACTORS:
        attempt, without_gradient = _attempt(make(), batch, factor, settings=settings, seed=seed, bounds=bounds)
        attempts.append(attempt)
        if factor == 1.0:
            frozen = without_gradient
        if attempt.reached or attempt.first_loss is None:
            break
    return _judge(tuple(attempts), frozen, bounds)


def _bounds(task: SupervisedTask, batch: Any) -> Bounds:
    inputs, target = batch
    return loss_bounds(task.loss, inputs, target, num_columns=num_outputs(task.recipe, task.info))


def _attempt(
    module: pl.LightningModule,
    batch: Any,
    factor: float,
    *,
    settings: TrainingSettings,
    seed: int,
    bounds: Bounds | None,
) -> tuple[Attempt, list[str]]:
    _switch_off_regularization(module)

    def reached(losses: Sequence[float]) -> bool:
        goal = bounds.goal if bounds else losses[0] - SHARE * abs(losses[0])
        return len(losses) > 1 and losses[-1] <= goal

    record = StepRecord(lambda step, peak: peak * factor, decays=False, ends=reached)
    take_steps(module, Steps([batch], NUM_STEPS), record, settings=settings, seed=seed)
    finite = [loss for loss in record.losses if math.isfinite(loss)]
    attempt = Attempt(
        lr_factor=factor,
        num_steps=len(record.losses),
        first_loss=record.losses[0] if math.isfinite(record.losses[0]) else None,
        best_loss=min(finite, default=None),
        reached=len(finite) == len(record.losses) and reached(finite),
    )
    return attempt, record.weights_without_gradient


def _switch_off_regularization(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, _DROPOUTS):
            part.p = 0.0
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            part.dropout = 0.0
        if isinstance(getattr(part, "label_smoothing", None), float):
            part.label_smoothing = 0.0  # type: ignore[assignment]


def _broken_batch(batch: Any, bounds: Bounds | None) -> OverfitReport | None:
    """Find what no network could mend."""
    if any(x.is_floating_point() and not bool(x.isfinite().all()) for x in _tensors(batch)):
        return _failed("inputs", "the batch holds values that are not finite: fill or drop them")
    if bounds is None:
        return None
    if bounds.reference <= 1e-12:
        return _failed("labels", "the training rows all have the same target: check the target column")
    if bounds.floor >= (1 - SHARE) * bounds.reference:
        return _failed(
            "labels",
            "rows of identical inputs have different targets, so that the inputs say nothing about them: check "
            "which columns are features, and that rows and targets belong together",
        )
    return None


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _judge(attempts: tuple[Attempt, ...], frozen: Sequence[str], bounds: Bounds | None) -> OverfitReport:
    first, last = attempts[0], attempts[-1]
    falls = _falls(first, bounds)
    if first.reached:
        message = f"one batch is learnt in {first.num_steps} steps"
        return OverfitReport(outcome="passed", suspect=None, message=message, falls=True, attempts=attempts)
    if first.first_loss is None:
        message = "the loss of finite inputs is not finite before the first step: check what it is computed from"
        return _failed("loss", message, attempts)
    if last.reached:
        way = "lower" if last.lr_factor < 1 else "raise"
        return OverfitReport(
            outcome="other_lr",
            suspect="learning rate",
            message=f"one batch is not learnt in {NUM_STEPS} steps, but is at {last.lr_factor:g} times the "
            f"learning rate: {way} it",
            falls=falls,
            attempts=attempts,
        )
    if not frozen and _is_far_too_low(attempts):
        return OverfitReport(
            outcome="other_lr",
            suspect="learning rate",
            message=f"one batch is not learnt in {NUM_STEPS} steps, and how far the loss falls is proportional to "
            "the learning rate: raise it by far",
            falls=False,
            attempts=attempts,
        )
    return _failed(*_suspicion(attempts, frozen, bounds), attempts)


def _is_far_too_low(attempts: Sequence[Attempt]) -> bool:
    """Say whether the fall of the loss is proportional to the learning rate, as it is for tiny steps alone."""
    falls = [
        a.first_loss - a.best_loss if a.first_loss is not None and a.best_loss is not None else 0.0
        for a in sorted(attempts, key=lambda a: a.lr_factor)
    ]
    return all(low > 0 and high >= _PROPORTIONAL * low for low, high in pairwise(falls))


def _suspicion(attempts: Sequence[Attempt], frozen: Sequence[str], bounds: Bounds | None) -> tuple[Suspect, str]:
    first = attempts[0]
    if frozen:
        names = ", ".join(frozen[:3]) + (" and others" if len(frozen) > 3 else "")
        return "network", (
            f"no gradient ever reaches {names}: look for a detached or dead layer, or one that is not used"
        )
    if bounds is not None and bounds.floor > SHARE * bounds.reference:
        return "labels", (
            f"rows of identical inputs have different targets, and the others are not learnt either "
            f"(loss {_text(first)}): check the target column"
        )
    tried = ", ".join(f"{_text(attempt)} at {attempt.lr_factor:g} times the learning rate" for attempt in attempts)
    goal = f"at most {bounds.goal:.3g}" if bounds else f"a fall by {SHARE:.0%}"
    return "network", (
        f"one batch is not learnt in {NUM_STEPS} steps at any of three learning rates (loss {tried}; wanted is "
        f"{goal}): check its depth, width, activation, norm and initialization"
    )


def _falls(attempt: Attempt, bounds: Bounds | None) -> bool:
    """Say whether an attempt that fell short made progress: a learning rate may be low, and not broken."""
    if attempt.first_loss is None or attempt.best_loss is None:
        return False
    above = bounds.floor if bounds else attempt.first_loss - abs(attempt.first_loss)
    return attempt.best_loss - above <= (1 - SHARE) * (attempt.first_loss - above)


def _failed(suspect: Suspect, message: str, attempts: tuple[Attempt, ...] = ()) -> OverfitReport:
    return OverfitReport(outcome="failed", suspect=suspect, message=message, falls=False, attempts=attempts)


def _text(attempt: Attempt) -> str:
    losses = (attempt.first_loss, attempt.best_loss)
    return " to ".join("not finite" if loss is None else f"{loss:.3g}" for loss in losses)
