"""The recipe: how a network of any family is trained."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.config import Config, choice, flag, integer, number
from lightning_modules.losses import LOSSES
from lightning_modules.optimizers import OPTIMIZERS
from lightning_modules.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """Optimizer, schedule, loss and batch size of one trial; the same fields for every family."""

    lr: float = number(
        1e-3, low=0.0, high=10.0, above_low=True, unit="per step",
        why="peak learning rate; the first hyperparameter to tune, on a logarithmic scale",
    )  # fmt: skip
    weight_decay: float = number(
        1e-4, low=0.0, high=1.0,
        why="pull towards zero; decoupled from the gradient in adamw, an L2 term in all others",
    )  # fmt: skip
    optimizer: str = choice("adamw", OPTIMIZERS, why="adamw is the safest start over families and widths")
    momentum: float = number(
        0.9, low=0.0, high=0.999, above_low=True,
        why="share of the last step that is kept; read by momentum and nesterov alone",
    )  # fmt: skip
    schedule: str = choice("cosine", SCHEDULES, why="the curve spans the whole trial, however it is cut into legs")
    warmup_epochs: float = number(
        1.0, low=0.0, high=1000.0, unit="epochs",
        why="linear rise at the start of warmup_cosine and warmup_linear; at most half of the trial is used",
    )  # fmt: skip
    batch_size: int = integer(
        64,
        low=1,
        high=65536,
        unit="rows",
        why="small batches are noisy and slow, large ones take few steps an epoch",
    )
    clip_norm: float = number(
        0.0, low=0.0, high=1e6, why="largest norm of the whole gradient; 0 is off, recurrent nets start at 1"
    )
    loss: str = choice("auto", ("auto", *LOSSES), why="auto is cross_entropy for classes and mse for values")
    label_smoothing: float = number(
        0.0, low=0.0, high=0.5,
        why="share of the target that is spread over all classes; beyond a half the classes lose their meaning",
    )  # fmt: skip
    focal_gamma: float = number(
        2.0, low=0.0, high=10.0, why="how strongly easy rows are played down by the focal loss; 0 is cross entropy"
    )
    huber_delta: float = number(
        1.0, low=0.0, high=1e3, above_low=True, unit="standard deviations of the target",
        why="error at which the Huber loss turns from squared to absolute",
    )  # fmt: skip
    class_weights: str = choice(
        "none",
        ("none", "balanced"),
        why="balanced weighs a class by the inverse of its share of the training split",
    )
    freeze_epochs: int = integer(
        0, low=0, high=100_000, unit="epochs",
        why="what is loaded from a bundle does not learn before this epoch, so that a new head does not spoil it",
    )  # fmt: skip
    loaded_lr_factor: float = number(
        0.5, low=0.0, high=1.0, above_low=True, unit="of lr",
        why="what is loaded from a bundle is nearly right, so it takes smaller steps; a tenth, as in use for "
        "large networks, was worse on small ones (digits)",
    )  # fmt: skip
    decay_norm_and_bias: bool = flag(
        False, why="biases and norms hold few weights and no capacity: decay only shrinks them to no use"
    )
