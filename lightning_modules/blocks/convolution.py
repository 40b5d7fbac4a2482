"""Convolutions with norm and activation, in one or two dimensions.

Every module takes an optional mask for series, (B, 1, T) with 1 on valid steps: what lies behind the end of a row
is set to zero before each convolution, so that padding looks exactly like the convolution's own zero padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.blocks.activations import make_activation
from lightning_modules.blocks.dropout import make_dropout
from lightning_modules.blocks.normalization import make_norm


@dataclass(frozen=True, kw_only=True)
class ConvStyle:
    """What all blocks of one network share.

    `spatial` is 1 for series and 2 for images.
    """

    spatial: int
    kernel_size: int
    activation: str
    norm: str
    norm_position: str  # before or after the activation
    dropout2d: float
    dilation: int = 1


def output_size(size: int, *, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Compute a convolution's output size along one axis: floor((H + 2P - D (K - 1) - 1) / S) + 1.

    Source:
        Dumoulin & Visin 2016, arXiv:1603.07285, relationship 15.
    """
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


class Conv(nn.Module):
    """A convolution that keeps the size (at stride 1), or a causal one that never looks ahead.

    Shapes:
        x: (B, C_in, T) or (B, C_in, H, W), mask: (B, 1, T) -> (B, C_out, ceil(T / stride)) and so on

    Args:
        channels_in: C_in.
        channels_out: C_out.
        spatial: 1 or 2.
        kernel_size: Odd.
        stride: Step of the output.
        dilation: Distance of the kernel's points.
        groups: Groups of channels that do not meet.
        bias: Whether to add one; a norm that follows makes it useless.
        causal: Pad on the left only (series).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        spatial: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__()
        reach = dilation * (kernel_size - 1)
        self.left_padding = reach if causal else 0
        kind = nn.Conv2d if spatial == 2 else nn.Conv1d
        self.conv = kind(
            channels_in,
            channels_out,
            kernel_size,
            stride=stride,
            padding=0 if causal else reach // 2,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        if mask is not None:
            x = x * mask
        if self.left_padding:
            x = F.pad(x, (self.left_padding, 0))
        convolved: Tensor = self.conv(x)
        return convolved


class ConvUnit(nn.Module):
    """Convolution, norm, activation; or the norm behind the activation; or no activation.

    Shapes:
        As `Conv`.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, sec. 3.2.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        style: ConvStyle,
        *,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        kernel = style.kernel_size if kernel_size is None else kernel_size
        self.conv = Conv(
            channels_in,
            channels_out,
            spatial=style.spatial,
            kernel_size=kernel,
            stride=stride,
            dilation=style.dilation if kernel > 1 and stride == 1 else 1,
            groups=groups,
            bias=style.norm == "none" or (style.norm_position == "after" and activate),
        )
        self.norm = make_norm(style.norm, channels_out, spatial=style.spatial)
        self.activation = make_activation(style.activation) if activate else nn.Identity()
        self.norm_first = style.norm_position == "before"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        x = self.conv(x, mask)
        out: Tensor = self.activation(self.norm(x)) if self.norm_first else self.norm(self.activation(x))
        return out


class SqueezeExcite(nn.Module):
    """Weigh each channel by a gate computed from all channels' means.

    Shapes:
        x: (B, C, T) or (B, C, H, W) -> the same

    Args:
        channels: C.
        hidden: Channels between the two maps.
        spatial: 1 or 2.
        activation: Between the two maps.

    Source:
        Hu et al. 2018, arXiv:1709.01507, eq. 2 to 4.
    """

    def __init__(self, channels: int, *, hidden: int, spatial: int, activation: str) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden)
        self.activation = make_activation(activation)
        self.excite = nn.Linear(hidden, channels)
        self.spatial = spatial

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weigh the channels of (B, C, ...)."""
        mean_BC = masked_mean(x, mask)
        gate_BC = torch.sigmoid(self.excite(self.activation(self.squeeze(mean_BC))))
        return x * gate_BC.reshape(*gate_BC.shape, *([1] * self.spatial))


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Average over the positions, or over the valid steps of each row.

    Shapes:
        x: (B, C, ...), mask: (B, 1, T) -> (B, C)
    """
    if mask is None:
        return x.flatten(2).mean(dim=2)
    return (x * mask).sum(dim=2) / mask.sum(dim=2)


def map_dropout(style: ConvStyle) -> nn.Module:
    """Make the dropout of whole channels."""
    return make_dropout("dropout2d" if style.spatial == 2 else "dropout1d", style.dropout2d)
