"""Which members can train as one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_modules.data.base import TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.families import FAMILIES, split_settings
from lightning_modules.transfer import Start

# What members may differ in: it changes neither a shape nor which operations run.
FREE = frozenset(
    {
        *("dropout", "input_dropout", "embedding_dropout", "dropout2d", "init"),
        *("lr", "weight_decay", "momentum", "clip_norm", "schedule", "warmup_epochs"),
        *("label_smoothing", "focal_gamma", "huber_delta", "class_weights", "loaded_lr_factor"),
        *("horizontal_flip", "vertical_flip", "rotation", "crop_padding", "colour_jitter", "cutout", "mixup"),
        *("time_stretch", "series_scale", "series_jitter", "time_mask", "word_swap", "word_dropout"),
    }
)


@dataclass(frozen=True)
class Objection:
    """What stands against fusing; nothing if there is no text."""

    text: str | None = None
    field: str | None = None

    def check(self) -> None:
        """Raise it.

        Raises:
            ConfigError: There is something.
        """
        if self.text is not None:
            raise ConfigError(self.text, field=self.field)


def fusion_key(family: str, settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Give what members must have in common to be fused: every setting but those of `FREE`, as (name, value).

    Raises:
        ConfigError: A setting is unknown or breaks its rule.
    """
    config, recipe = split_settings(family, settings)
    values = {**config.to_dict(), **recipe.to_dict()}
    return (("family", family), *((name, value) for name, value in values.items() if name not in FREE))


def can_fuse(
    family: str,
    settings: Sequence[Mapping[str, Any]],
    data: TrainingData,
    *,
    start: Start | None = None,
) -> str | None:
    """Say what stands against training members as one network; None if nothing does.

    Args:
        family: mlp, cnn or rnn; a person's own module cannot be fused.
        settings: Hyperparameters of each member.
        data: What they train on.
        start: Weights that they start from.

    Raises:
        ConfigError: A setting is unknown or breaks its rule.
    """
    return objection(family, settings, data, start=start).text


def objection(
    family: str,
    settings: Sequence[Mapping[str, Any]],
    data: TrainingData,
    *,
    start: Start | None = None,
) -> Objection:
    """Give the same as `can_fuse`, with the field that it is about."""
    if family not in FAMILIES:
        return Objection(f"a cohort is of a built-in family ({', '.join(FAMILIES)}), got {family!r}", "family")
    keys = [dict(fusion_key(family, values)) for values in settings]
    for name, value in keys[0].items():
        others = sorted({str(key[name]) for key in keys if key[name] != value})
        if others:
            return Objection(
                f"members of a cohort have the same {name}, got {value} and {', '.join(others)}: put them into "
                "cohorts by fusion_key",
                name,
            )
    if start is not None and keys[0]["freeze_epochs"]:
        return Objection(
            f"loaded weights that are frozen have no optimizer yet, got freeze_epochs {keys[0]['freeze_epochs']}: "
            "train one by one, or set it to 0",
            "freeze_epochs",
        )
    if family == "cnn" and _lengths_differ(data):
        for name, what in (("norm", "counts"), ("activation", "draws for")):
            if keys[0][name] in _READS_PADDING:
                return Objection(
                    f"{name} {keys[0][name]} {what} padded steps, and a cohort pads to the longest row of all its "
                    "members: train one by one, or take another",
                    name,
                )
    return Objection()


_READS_PADDING = frozenset({"batch", "group", "instance", "rrelu"})


def _lengths_differ(data: TrainingData) -> bool:
    lengths = data.train.inputs.get("lengths")
    return lengths is not None and len(lengths) > 0 and int(lengths.min()) != int(lengths.max())
