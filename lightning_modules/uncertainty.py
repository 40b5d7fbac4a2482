"""Monte-Carlo dropout: predictions with a spread, from the dropout that a network was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.blocks.dropout import VariationalDropout
from lightning_modules.errors import ConfigError
from lightning_modules.seeding import seeded

_DROPOUTS = (nn.modules.dropout._DropoutNd, VariationalDropout)
_WITH_DROPOUT = (nn.RNNBase, nn.MultiheadAttention)  # whose own training flag decides over nothing but dropout


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation of several predictions, each shaped as one of them.

    The deviation is that of the passes themselves (divided by their number less 1), not that of their mean.
    """

    mean: Tensor
    std: Tensor


@contextmanager
def dropout_alone(network: nn.Module) -> Iterator[None]:
    """Let dropout layers drop in a network that is otherwise in evaluation mode; afterwards it is as before.

    Raises:
        ConfigError: No layer drops anything.
    """
    layers = [part for part in network.modules() if _drops(part)]
    if not layers:
        raise ConfigError(
            "uncertainty by Monte-Carlo dropout needs a layer that drops, this network has none: train one with a "
            "dropout above 0",
            field="dropout",
        )
    before = [(part, part.training) for part in network.modules()]
    try:
        network.eval()
        for layer in layers:
            layer.training = True  # not train(): that reaches the layers inside, such as a batch norm
        yield
    finally:
        for part, training in before:
            part.training = training


def _drops(part: nn.Module) -> bool:
    if isinstance(part, _DROPOUTS):
        return part.p > 0
    return isinstance(part, _WITH_DROPOUT) and part.dropout > 0


def predict_spread(network: nn.Module, predict: Callable[[], Tensor], *, num_passes: int, seed: int) -> Spread:
    """Predict several times with other units dropped each time.

    Args:
        network: Whose dropout layers are switched on.
        predict: Predicts with it; the same shape each time.
        num_passes: At least 2.
        seed: What is dropped follows from it alone.

    Raises:
        ConfigError: Fewer passes, or no layer drops anything.

    Source:
        Gal & Ghahramani 2016, arXiv:1506.02142, sec. 4.
    """
    if num_passes < 2:
        raise ConfigError(f"num_passes >= 2 must hold, got {num_passes}: raise it", field="num_passes")
    with dropout_alone(network), seeded(seed), torch.inference_mode():
        passes = torch.stack([predict() for _ in range(num_passes)])
    std, mean = torch.std_mean(passes, dim=0)
    return Spread(mean=mean, std=std)
