"""How feature maps and series shrink, by name: halving at the end of a stage, and the last map to a vector.

Each takes the mask of `lightning_modules.blocks.convolution`: padding behind the end of a series is never counted.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.blocks.convolution import ConvStyle, ConvUnit, masked_mean
from lightning_modules.registry import Entry, Registry


def masked_max(x: Tensor, mask: Tensor | None) -> Tensor:
    """Take the largest value over the positions, or over the valid steps of each row.

    Shapes:
        x: (B, C, ...), mask: (B, 1, T) -> (B, C)
    """
    if mask is not None:
        x = x.masked_fill(mask == 0, -torch.inf)
    return x.flatten(2).amax(dim=2)


class Downsample(nn.Module):
    """Halve the size: max or average pooling, or a convolution of stride 2.

    Images lose an odd last row or column in pooling, as torch's default has it; series keep their last step, so
    that a row of length L has length ceil(L / 2) whatever the padding behind it.

    Shapes:
        x: (B, C, T), mask (B, 1, T) -> (B, C, ceil(T / 2)), (B, 1, ceil(T / 2))
        x: (B, C, H, W) -> (B, C, H // 2, W // 2); stride: rounded up
    """

    def __init__(self, channels: int, style: ConvStyle, *, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.spatial = style.spatial
        self.unit = ConvUnit(channels, channels, style, kernel_size=3, stride=2) if pooling == "stride" else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Halve the sides, and the mask with them."""
        halved = None if mask is None else mask[:, :, ::2]
        if self.unit is not None:
            return self.unit(x, mask), halved
        if self.spatial == 2:
            return (F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)), None
        if self.pooling == "max":
            if mask is None or halved is None:
                return F.max_pool1d(x, 2, ceil_mode=True), None
            x = F.max_pool1d(x.masked_fill(mask == 0, torch.finfo(x.dtype).min), 2, ceil_mode=True)
            return x * halved, halved  # windows behind the end hold the fill value: back to 0
        if mask is None:
            return F.avg_pool1d(x, 2, ceil_mode=True), None
        share = F.avg_pool1d(mask, 2, ceil_mode=True).clamp_min(0.5)  # 1 or 1/2 valid; 0 stays masked out
        return F.avg_pool1d(x * mask, 2, ceil_mode=True) / share, halved


class GridPool(nn.Module):
    """Pool an image to a grid of at most `side` x `side` cells, or a series to one value; then lay it flat.

    Images smaller than the grid keep their size. The cells follow from the image's size, with plain pooling of one
    kernel: torch's adaptive pooling has no deterministic gradient on CUDA.

    Shapes:
        x: (B, C, H, W) -> (B, C * min(side, H) * min(side, W)); (B, C, T) with mask -> (B, C)
    """

    def __init__(self, *, pooling: str, side: int) -> None:
        super().__init__()
        self.pooling, self.side = pooling, side

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C, ...) to (B, C * cells)."""
        if x.ndim == 3 or self.side == 1:
            return masked_max(x, mask) if self.pooling == "max" else masked_mean(x, mask)
        strides = [max(size // self.side, 1) for size in x.shape[2:]]
        kernels = [
            size - (min(self.side, size) - 1) * stride for size, stride in zip(x.shape[2:], strides, strict=True)
        ]
        pool = F.max_pool2d if self.pooling == "max" else F.avg_pool2d
        return pool(x, kernels, strides).flatten(1)


HALVINGS: Registry[Downsample] = Registry(
    "pooling",
    [
        Entry(
            name="max",
            factory=partial(Downsample, pooling="max"),
            formula="y[i] = max(x[2i], x[2i + 1]), along each side",
            range="(B, C, H, W) -> (B, C, floor(H / 2), floor(W / 2)); series: ceil(T / 2)",
            used_for="the default: keeps the strongest answer, wherever in the window it stood",
            source="Scherer, Müller & Behnke 2010, doi:10.1007/978-3-642-15825-4_10",
        ),
        Entry(
            name="avg",
            factory=partial(Downsample, pooling="avg"),
            formula="y[i] = (x[2i] + x[2i + 1]) / 2, along each side",
            range="(B, C, H, W) -> (B, C, floor(H / 2), floor(W / 2)); series: ceil(T / 2)",
            used_for="smooth maps, of which the whole window says something",
            source="LeCun et al. 1998, doi:10.1109/5.726791 (LeNet-5)",
        ),
        Entry(
            name="stride",
            factory=partial(Downsample, pooling="stride"),
            formula="act(norm(conv(x))), 3x3, stride 2",
            range="(B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)); series: ceil(T / 2)",
            used_for="residual and ConvNeXt kinds: what is kept is learned, at the price of weights",
            source="Springenberg et al. 2015, arXiv:1412.6806",
        ),
    ],
    title="Halving the size",
    about="How a stage of the cnn family halves its map. `temporal` stacks keep their length and need none.",
)

HEAD_POOLINGS: Registry[GridPool] = Registry(
    "head_pooling",
    [
        Entry(
            name="avg",
            factory=partial(GridPool, pooling="avg"),
            formula="mean over each cell of a grid of head_grid x head_grid",
            range="(B, C, H, W) -> (B, C cells); series: (B, C, T) -> (B, C)",
            used_for="the default; with head_grid 1 it is global average pooling, right for deep nets",
            source="Lin, Chen & Yan 2014, arXiv:1312.4400, sec. 3.2",
        ),
        Entry(
            name="max",
            factory=partial(GridPool, pooling="max"),
            formula="max over each cell of a grid of head_grid x head_grid",
            range="(B, C, H, W) -> (B, C cells); series: (B, C, T) -> (B, C)",
            used_for="things that fill a small part of the image, whatever surrounds them",
            source="Oquab et al. 2015, CVPR, sec. 3.2",
        ),
    ],
    title="From the last map to a vector",
    about="The cells follow from the map, so a network with `head_grid: 1` reads images of any size.",
)
