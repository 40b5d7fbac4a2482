"""Networks of one shape become one network of all.

What passes through it are all members' rows, one member's behind the other's, (K * B, ...). So whatever works on
each row alone, which is all code between the layers, stays as the families wrote it; replaced are the layers that
hold parameters, compare rows, or draw.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from lightning_modules.blocks.activations import Swish
from lightning_modules.blocks.conv_blocks import ConvNeXtConv
from lightning_modules.blocks.dropout import VariationalDropout
from lightning_modules.blocks.pooling import AttentionPool
from lightning_modules.blocks.recurrent import RecurrentLayer
from lightning_modules.errors import ConfigError
from lightning_modules.fused.convolution import StackedConv, StackedConvNeXt
from lightning_modules.fused.dense import (
    StackedEmbedding,
    StackedLinear,
    StackedPReLU,
    StackedRReLU,
    StackedSwish,
)
from lightning_modules.fused.noise import Noise, StackedDropout
from lightning_modules.fused.norms import (
    StackedBatchNorm,
    StackedGroupNorm,
    StackedInstanceNorm,
    StackedLayerNorm,
    StackedRMSNorm,
)
from lightning_modules.fused.pooling import StackedAttentionPool
from lightning_modules.fused.recurrent import StackedRecurrentLayer

Layers = Sequence[Any]

_HOLDING: Mapping[type[nn.Module], Callable[[Layers], nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Embedding: StackedEmbedding,
    nn.PReLU: StackedPReLU,
    RecurrentLayer: StackedRecurrentLayer,
    AttentionPool: StackedAttentionPool,
    Swish: StackedSwish,
    nn.Conv1d: StackedConv,
    nn.Conv2d: StackedConv,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.BatchNorm2d: StackedBatchNorm,
    nn.LayerNorm: StackedLayerNorm,
    nn.RMSNorm: StackedRMSNorm,
    nn.GroupNorm: StackedGroupNorm,
    nn.InstanceNorm1d: StackedInstanceNorm,
    nn.InstanceNorm2d: StackedInstanceNorm,
}
_DRAWING: Mapping[type[nn.Module], Callable[[Layers, Noise], nn.Module]] = {
    nn.Dropout: lambda layers, noise: StackedDropout(layers, noise, shared=None, over_time=True),
    nn.Dropout1d: lambda layers, noise: StackedDropout(layers, noise, shared=2, over_time=False),
    nn.Dropout2d: lambda layers, noise: StackedDropout(layers, noise, shared=2, over_time=False),
    VariationalDropout: lambda layers, noise: StackedDropout(layers, noise, shared=1, over_time=True),
    nn.RReLU: StackedRReLU,
    ConvNeXtConv: lambda blocks, noise: StackedConvNeXt(blocks, noise, stack),
}


def stack(parts: Layers, noise: Noise) -> nn.Module:
    """Make one network of the members' own, which keep theirs.

    Args:
        parts: The members' networks, or the same part of each.
        noise: Where layers that draw get their numbers from.

    Raises:
        ConfigError: A layer holds parameters and has no stacked form.
    """
    first = parts[0]
    kind = type(first)
    if kind in _HOLDING:
        return _HOLDING[kind](parts)
    if kind in _DRAWING:
        return _DRAWING[kind](parts, noise)
    if first._parameters or first._buffers:
        raise ConfigError(without_form(kind), field="block")
    stacked: nn.Module = copy.copy(first)
    stacked._modules = {
        name: None if child is None else stack([part.get_submodule(name) for part in parts], noise)
        for name, child in first._modules.items()
    }
    return stacked


def without_form(kind: type[nn.Module]) -> str:
    """Word the complaint about a layer that cannot be stacked."""
    return (
        f"a network is stacked layer by layer, and {kind.__name__} has parameters of its own but no stacked form: "
        "train its members one by one"
    )


def keep_members(network: nn.Module, members: Sequence[int]) -> None:
    """Drop what a stacked network's layers hold of all members but some, parameters aside."""
    for part in network.modules():
        keep = getattr(part, "keep_members", None)
        if keep is not None:
            keep(members)
