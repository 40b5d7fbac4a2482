"""Whether fusing pays: by how much a step computes, against what a step of training alone costs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.data.base import TrainingData
from lightning_modules.data.module import TensorSplit
from lightning_modules.families import split_settings
from lightning_modules.fused.fusion import can_fuse
from lightning_modules.losses import num_outputs
from lightning_modules.seeding import seeded
from lightning_modules.training import TrainingSettings
from lightning_modules.transfer import Start

# Multiply-adds of a member's step, forward, up to which fusing is faster on a CPU, by what does most of them.
# Measured with benchmarks.fused and its cases made larger and smaller (docs/fused.md).
_LIMITS: Mapping[str, float] = {"dense": 2e8, "convolution": 3e7, "LSTM": 3e7, "GRU": 2e8, "vanilla": 2e8}
# Members from which on it is: two MLPs take as long as one network as they do in turn without a Trainer.
_FEWEST: Mapping[str, int] = {"dense": 3, "convolution": 2, "LSTM": 2, "GRU": 2, "vanilla": 2}


@dataclass(frozen=True)
class Choice:
    """How to train a cohort, and why.

    Attributes:
        fused: Whether as one network.
        reason: In words.
        fewest: The smallest cohort of such members that is trained as one network; None where none is.
    """

    fused: bool
    reason: str
    fewest: int | None = None


def choose(
    family: str,
    members: Sequence[Mapping[str, Any]],
    data: TrainingData,
    *,
    settings: TrainingSettings,
    start: Start | None = None,
) -> Choice:
    """Choose between `train_cohort` and training one by one; it follows from the arguments alone.

    Args:
        family: mlp, cnn or rnn; a person's own module is trained one by one.
        members: Hyperparameters of each member.
        data: What they train on.
        settings: How they train.
        start: Weights that they start from.

    Raises:
        ConfigError: A setting is unknown or breaks its rule, or contradicts the data.
    """
    if len(members) < 2:
        return Choice(False, f"{len(members)} member: there is nothing to share")
    against = can_fuse(family, members, data, start=start)
    if against is not None:
        return Choice(False, against)
    if settings.accelerator != "cpu":
        return Choice(True, "on a GPU, which a member alone does not fill", fewest=2)
    kind, work = step_work(family, members[0], data)
    counted = f"{work:.2g} multiply-adds a step, mostly {kind}"
    if work > _LIMITS[kind]:
        return Choice(False, f"{counted}: > {_LIMITS[kind]:.2g}")
    fewest = _FEWEST[kind]
    if len(members) < fewest:
        return Choice(
            False, f"{len(members)} members, mostly {kind}: one network pays from {fewest} on", fewest=fewest
        )
    return Choice(True, f"{counted}: <= {_LIMITS[kind]:.2g}", fewest=fewest)


def step_work(family: str, values: Mapping[str, Any], data: TrainingData) -> tuple[str, float]:
    """Count a step's multiply-adds, forward, and say what does most of them."""
    config, recipe = split_settings(family, values)
    with seeded(0):
        network = config.build(data.info, num_outputs=num_outputs(recipe, data.info)).eval()
    found: dict[str, float] = {}

    def count(part: nn.Module, inputs: Any, output: Any) -> None:
        kind, work = _work(part, output)
        found[kind] = found.get(kind, 0.0) + work

    for part in network.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.RNNBase):
            part.register_forward_hook(count)
    inputs, _ = TensorSplit(data.train).slice(0, 1)
    if "lengths" in inputs:  # as long as a batch's longest row, which the others are padded to
        inputs = _full_length(inputs, data.info.max_length)
    with torch.inference_mode():
        network(inputs)
    rows = min(recipe.batch_size, len(data.train))
    return max(found, key=lambda kind: found[kind]), rows * sum(found.values())


def _full_length(inputs: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
    longest = {name: x.new_zeros(1, steps, *x.shape[2:]) for name, x in inputs.items() if name != "lengths"}
    return {**longest, "lengths": inputs["lengths"].new_tensor([steps])}


def _work(part: nn.Module, output: Any) -> tuple[str, float]:
    """Name what a layer does, and count its multiply-adds for one row."""
    if isinstance(part, nn.RNNBase):
        steps = len(output[0].data)  # packed
        kind = part.mode if part.mode in ("LSTM", "GRU") else "vanilla"
        return kind, float(steps * sum(p.numel() for name, p in part.named_parameters() if "weight" in name))
    assert isinstance(part.weight, Tensor)
    if isinstance(part, nn.Linear):
        return "dense", float(part.weight.numel())
    return "convolution", float(part.weight.numel() * output[0, 0].numel())
