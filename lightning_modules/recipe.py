"""The recipe: how a network of any family is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_modules.config import (
    Config,
    SettingWarning,
    choice,
    choice_or_weights,
    flag,
    integer,
    no_effect,
    number,
)
from lightning_modules.data.base import DataInfo
from lightning_modules.losses import CLASS_WEIGHTS, LOSSES
from lightning_modules.optimizers import OPTIMIZERS
from lightning_modules.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """Optimizer, schedule, loss, batch size and augmentation of a trial; the same fields for every family."""

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
    class_weights: str | Mapping[str, float] = choice_or_weights(
        "none",
        CLASS_WEIGHTS,
        why="for unbalanced classes; balanced weighs a class by the inverse of its share of the training split, a "
        "mapping such as {rare: 5} by what it says, 1 for classes that it leaves out",
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

    # Augmentation of training batches, off by default; names and formulas stand in lightning_modules.augmentation.
    horizontal_flip: float = number(
        0.0, low=0.0, high=1.0, unit="share of the images",
        why="mirrors images left to right: 0.5 for scenes and things, 0 for digits and letters",
    )  # fmt: skip
    vertical_flip: float = number(
        0.0,
        low=0.0,
        high=1.0,
        unit="share of the images",
        why="mirrors images top to bottom, where there is no up",
    )
    rotation: float = number(
        0.0, low=0.0, high=180.0, unit="degrees", why="turns images by at most so much; 10 to 15 suit digits"
    )
    crop_padding: int = integer(
        0, low=0, high=64, unit="pixels", why="shifts images by at most so much; an eighth of the side is usual"
    )
    colour_jitter: float = number(
        0.0, low=0.0, high=1.0,
        why="largest change of brightness, contrast, saturation and, by a quarter of it, hue; for three channels",
    )  # fmt: skip
    cutout: float = number(
        0.0, low=0.0, high=0.9, unit="share of the image's area", why="hides a square; 0.25 is usual"
    )
    mixup: float = number(
        0.0, low=0.0, high=10.0,
        why="alpha of the Beta distribution by which rows and labels are mixed; images and numbers, "
        "classification alone",
    )  # fmt: skip
    time_stretch: float = number(
        0.0, low=0.0, high=0.9, unit="share of the length", why="makes series longer or shorter by at most so much"
    )
    series_scale: float = number(
        0.0, low=0.0, high=1.0, why="standard deviation of the factor on each channel of a series"
    )
    series_jitter: float = number(
        0.0,
        low=0.0,
        high=10.0,
        unit="of the series",
        why="standard deviation of the noise on a series' steps",
    )
    time_mask: float = number(
        0.0, low=0.0, high=0.9, unit="share of the length", why="hides a span of a series, at most so long"
    )
    word_swap: float = number(
        0.0, low=0.0, high=1.0, unit="share of the words", why="neighbours that change places in a text"
    )
    word_dropout: float = number(
        0.0, low=0.0, high=0.9, unit="share of the words", why="words of a text that become unknown"
    )

    def warnings(self, info: DataInfo) -> list[SettingWarning]:
        """List settings that the optimizer, the schedule, the loss or the task leaves without effect."""
        found = []
        if self.optimizer not in ("momentum", "nesterov"):
            found.append(no_effect("momentum", because=("optimizer",), text=f"with optimizer {self.optimizer}"))
        if not self.schedule.startswith("warmup"):
            found.append(no_effect("warmup_epochs", because=("schedule",), text=f"with schedule {self.schedule}"))
        for name, loss in (("focal_gamma", "focal"), ("huber_delta", "huber")):
            if self.loss != loss:
                found.append(no_effect(name, because=("loss",), text=f"with loss {self.loss}: take {loss}"))
        if info.task == "regression":
            found += [no_effect(name, text="on a regression") for name in ("label_smoothing", "class_weights")]
        return found
