"""Stacked norms. torch's own functions normalize rows; what they scale and shift by is each member's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.blocks.normalization import refuse_single_row
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacked import Stacked


class StackedBatchNorm(Stacked):
    """Batch norm over each member's rows, with each member's running statistics.

    Shapes:
        x: (K * B, C, ...) -> the same; weight, bias and statistics (K, C)
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d | nn.BatchNorm2d]) -> None:
        super().__init__(layers)
        momentum = layers[0].momentum
        assert momentum is not None
        self.eps, self.momentum = layers[0].eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel of each member."""
        num_members = len(self.weight)
        if self.training and len(x) == num_members:
            refuse_single_row()
        # (K, B, C), or (K, B, C, positions); where channels lie last, positions are further rows.
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        rows = by_member(x.movedim(1, -1) if last else x, num_members).to(self.weight.dtype)
        rows = rows.flatten(1, -2) if last else rows if rows.ndim == 3 else rows.flatten(3)
        normed = self._normed(rows)
        return normed.reshape(x.movedim(1, -1).shape).movedim(-1, 1) if last else normed.reshape(x.shape)

    def _normed(self, rows: Tensor) -> Tensor:
        """Normalize (K, rows, C) or (K, rows, C, positions); to torch, members are further channels."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            shift = self.bias - self.running_mean * scale
            return torch.addcmul(_over(shift, rows), rows, _over(scale, rows))
        num_members, num_rows, num_channels, *positions = rows.shape
        normed = F.batch_norm(
            rows.transpose(0, 1).reshape(num_rows, num_members * num_channels, *positions),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.reshape(-1),
            self.bias.reshape(-1),
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        self.num_batches_tracked += 1
        return normed.reshape(num_rows, num_members, num_channels, *positions).transpose(0, 1)


def _over(values: Tensor, x: Tensor) -> Tensor:
    """Lay values of each channel, (K, C), over rows and positions."""
    return values[:, None] if x.ndim == 3 else values[:, None, :, None]


class StackedLayerNorm(Stacked):
    """Layer norm over the last axis.

    Shapes:
        x: (K * B, ..., C) -> the same; weight and bias (K, C)
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__(layers)
        self.shape, self.eps = layers[0].normalized_shape, layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each position."""
        normed = F.layer_norm(x, self.shape, eps=self.eps)
        rows = normed.reshape(len(self.weight), -1, x.shape[-1])
        return torch.addcmul(self.bias[:, None], rows, self.weight[:, None]).reshape(x.shape)


class StackedRMSNorm(Stacked):
    """RMS norm over the last axis.

    Shapes:
        x: (K * B, ..., C) -> the same; weight (K, C)
    """

    weight: Tensor

    def __init__(self, layers: Sequence[nn.RMSNorm]) -> None:
        super().__init__(layers)
        self.shape, self.eps = layers[0].normalized_shape, layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each position."""
        normed = F.rms_norm(x, self.shape, eps=self.eps)
        rows = normed.reshape(len(self.weight), -1, x.shape[-1])
        return (rows * self.weight[:, None]).reshape(x.shape)


class StackedGroupNorm(Stacked):
    """Group norm of each row.

    Shapes:
        x: (K * B, C, ...) -> the same; weight and bias (K, C)
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[nn.GroupNorm]) -> None:
        super().__init__(layers)
        self.num_groups, self.eps = layers[0].num_groups, layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each group of channels."""
        return _by_channel(F.group_norm(x, self.num_groups, eps=self.eps), self.weight, self.bias)


class StackedInstanceNorm(Stacked):
    """Instance norm of each row, without running statistics.

    Shapes:
        x: (K * B, C, ...) -> the same; weight and bias (K, C)
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[nn.InstanceNorm1d | nn.InstanceNorm2d]) -> None:
        super().__init__(layers)
        self.eps = layers[0].eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel."""
        return _by_channel(F.instance_norm(x, eps=self.eps), self.weight, self.bias)


def _by_channel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scale and shift the channels, axis 1, by each member's own weight and bias."""
    shape = (*weight.shape[:1], 1, weight.shape[1], *[1] * (x.ndim - 2))
    return torch.addcmul(bias.reshape(shape), by_member(x, len(weight)), weight.reshape(shape)).reshape(x.shape)
