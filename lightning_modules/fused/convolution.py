"""Stacked convolutions, and the block that holds a scale of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.blocks.conv_blocks import ConvNeXtConv
from lightning_modules.fused.noise import Noise
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacked import Stacked

Stack = Callable[[Sequence[nn.Module], Noise], nn.Module]


class StackedConv(Stacked):
    """A convolution of each member.

    On the CPU one after another, by the kernel that each has alone: one grouped convolution takes longer, for the
    members' channels have to be laid side by side and back (see `lightning_modules.fused.choice`). On a GPU
    one grouped convolution is one launch.

    Shapes:
        x: (K * B, C_in, ...) -> (K * B, C_out, ...); weight (K, C_out, C_in / groups, ...)
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layers: Sequence[nn.Conv1d | nn.Conv2d]) -> None:
        super().__init__(layers)
        first = layers[0]
        if first.bias is None:
            self.bias = None
        self.stride, self.padding, self.dilation = first.stride, first.padding, first.dilation
        self.groups = first.groups
        self._convolve = F.conv2d if isinstance(first, nn.Conv2d) else F.conv1d

    def forward(self, x: Tensor) -> Tensor:
        """Map (K * B, C_in, ...) to (K * B, C_out, ...)."""
        num_members = len(self.weight)
        rows = by_member(x, num_members)
        if x.is_cuda:
            return self._grouped(rows)
        # unbind, whose gradient is one stack: that of an index fills a tensor of all members for each.
        biases = [None] * num_members if self.bias is None else self.bias.unbind()
        parts = zip(rows.unbind(), self.weight.unbind(), biases, strict=True)
        return torch.cat([self._run(own, weight, bias, self.groups) for own, weight, bias in parts])

    def _grouped(self, rows: Tensor) -> Tensor:
        side_by_side = rows.transpose(0, 1).flatten(1, 2)  # (B, K * C_in, ...)
        bias = None if self.bias is None else self.bias.flatten()
        out = self._run(side_by_side, self.weight.flatten(0, 1), bias, self.groups * len(rows))
        return torch.unflatten(out, 1, (len(rows), -1)).transpose(0, 1).flatten(0, 1)

    def _run(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        convolved: Tensor = self._convolve(x, weight, bias, self.stride, self.padding, self.dilation, groups)
        return convolved


class StackedConvNeXt(Stacked):
    """As `ConvNeXtConv`, with each member's layer scale.

    Args:
        blocks: The members' own.
        noise: Of the network.
        stack: Makes the stacked form of a part.
    """

    scale: Tensor
    depthwise: nn.Module
    norm: nn.Module
    widen: nn.Module
    activation: nn.Module
    narrow: nn.Module
    dropout: nn.Module
    shortcut: nn.Module

    def __init__(self, blocks: Sequence[ConvNeXtConv], noise: Noise, stack: Stack) -> None:
        super().__init__(blocks)
        for name, _ in blocks[0].named_children():
            self.add_module(name, stack([block.get_submodule(name) for block in blocks], noise))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (K * B, C_in, ...) to (K * B, C_out, ...)."""
        branch = self.narrow(self.activation(self.widen(self.norm(self.depthwise(x, mask)))))
        num_members, channels = self.scale.shape
        scale = self.scale.reshape(num_members, 1, channels, *[1] * (x.ndim - 2))
        scaled = (by_member(branch, num_members) * scale).flatten(0, 1)
        out: Tensor = self.shortcut(x) + self.dropout(scaled)
        return out
