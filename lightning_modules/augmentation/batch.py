"""From a recipe's settings to what augments each training batch, and what the data must be for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_modules.augmentation.images import IMAGE_AUGMENTATIONS, ImageAugmentation
from lightning_modules.augmentation.mixing import MIXES
from lightning_modules.augmentation.series import SERIES_AUGMENTATIONS, SeriesAugmentation
from lightning_modules.augmentation.texts import TEXT_AUGMENTATIONS, TextAugmentation
from lightning_modules.data.base import DataInfo, Kind, TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.recipe import Recipe
from lightning_modules.registry import Registry
from lightning_modules.seeding import derive_seed, seeded_torch

Step = Callable[[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], Tensor]]  # inputs, target -> the same
_OF_KIND: Mapping[Kind, Registry[Any]] = {
    "image": IMAGE_AUGMENTATIONS,
    "series": SERIES_AUGMENTATIONS,
    "text": TEXT_AUGMENTATIONS,
}
_RGB = 3


class BatchAugmentation:
    """Augments one training batch after another; what it draws follows from (seed, epoch, batch) alone.

    torch's global generator stands afterwards where it stood before, so dropout draws what it would draw without.

    Args:
        steps: Applied in turn.
        seed: Of the trial.
    """

    def __init__(self, steps: Sequence[Step], *, seed: int) -> None:
        self._steps, self._seed = steps, seed

    def __call__(
        self, inputs: dict[str, Tensor], target: Tensor, *, epoch: int, batch: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Augment a batch.

        Args:
            inputs: As `DataInfo` describes them.
            target: (B,).
            epoch: Counts from 0.
            batch: Number of the batch in its epoch, from 0.

        Returns:
            Inputs, and the target: (B,) as it was, or with mixup (B, K) shares of the classes.
        """
        with seeded_torch(derive_seed(self._seed, epoch, batch)):
            for step in self._steps:
                inputs, target = step(inputs, target)
        return inputs, target


def make_augmentation(recipe: Recipe, data: TrainingData, *, seed: int) -> BatchAugmentation | None:
    """Make what a recipe asks for; None where it asks for nothing.

    Args:
        recipe: With the augmentations' settings.
        data: What is trained on. Images whose preprocessing is not told are taken for pixels in 0..1.
        seed: Of the trial.

    Raises:
        ConfigError: See `check_augmentation`.
    """
    info = data.info
    check_augmentation(recipe, info)
    steps: list[Step] = []
    registry = _OF_KIND.get(info.kind)
    settings = _switched_on(recipe, registry) if registry is not None else {}
    if settings and info.kind == "image":
        assert info.image_shape is not None
        channels = info.image_shape[0]
        mean = data.preprocessing.get("mean", [0.0] * channels)
        std = data.preprocessing.get("std", [1.0] * channels)
        steps.append(ImageAugmentation(settings, shape=info.image_shape, mean=mean, std=std))
    elif settings and info.kind == "series":
        steps.append(SeriesAugmentation(settings, max_length=info.max_length))
    elif settings:
        steps.append(TextAugmentation(settings))
    steps += [MIXES[name].factory(value, info.num_outputs) for name, value in _switched_on(recipe, MIXES).items()]
    return BatchAugmentation(steps, seed=seed) if steps else None


def check_augmentation(recipe: Recipe, info: DataInfo) -> None:
    """Check that what a recipe switches on can be done to the data.

    Raises:
        ConfigError: An augmentation is of another kind of data, colour jitter meets images without three
            channels, a crop pads by a whole side, or mixup meets what cannot be mixed.
    """
    for kind, registry in _OF_KIND.items():
        for name in _switched_on(recipe, registry):
            if kind != info.kind:
                own = ", ".join([*_OF_KIND.get(info.kind, ()), "mixup"])
                raise ConfigError(
                    f"augments {kind} data, got {info.kind} data: set it to 0 ({info.kind} data has {own})",
                    field=name,
                )
    if info.kind == "image" and info.image_shape is not None:
        channels, *sides = info.image_shape
        if recipe.colour_jitter and channels != _RGB:
            raise ConfigError(
                f"needs images with {_RGB} channels, got {channels}: set it to 0", field="colour_jitter"
            )
        if recipe.crop_padding >= min(sides):
            raise ConfigError(
                f"must be smaller than a side of the images, got {recipe.crop_padding} for {min(sides)} pixels: "
                "lower it, an eighth of the side is usual",
                field="crop_padding",
            )
    if recipe.mixup:
        _check_mixup(info)


def _check_mixup(info: DataInfo) -> None:
    if info.task != "classification":
        raise ConfigError(
            "mixes the shares of classes, got regression, whose losses take no shares: set it to 0", field="mixup"
        )
    if info.kind not in ("image", "tabular"):
        raise ConfigError(
            f"mixes images or numbers, got {info.kind} data, whose rows have steps of their own: set it to 0",
            field="mixup",
        )
    if info.cardinalities:
        raise ConfigError(
            f"mixes numbers, got {len(info.cardinalities)} categorical columns: set it to 0, or drop the columns",
            field="mixup",
        )


def _switched_on(recipe: Recipe, registry: Registry[Any]) -> dict[str, Any]:
    values = {name: getattr(recipe, name) for name in registry}
    return {name: value for name, value in values.items() if value}
