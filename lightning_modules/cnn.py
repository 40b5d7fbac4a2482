"""The CNN family: images of any size, and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_modules.blocks.activations import ACTIVATIONS, make_activation
from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.conv_pooling import HALVINGS, HEAD_POOLINGS, Downsample
from lightning_modules.blocks.convolution import ConvStyle, ConvUnit
from lightning_modules.blocks.dropout import make_dropout
from lightning_modules.blocks.initialization import INIT_NAMES, initialize
from lightning_modules.blocks.normalization import NORMS
from lightning_modules.config import SettingWarning, choice, integer, no_effect, number
from lightning_modules.data.base import DataInfo, Kind
from lightning_modules.errors import ConfigError
from lightning_modules.network import (
    NetworkConfig,
    disharmony_warnings,
    norm_position_warnings,
    saturation_warnings,
)

_INCEPTION_WIDTH = 16  # four branches of 4 channels
_SMALLEST_HALVED = 4  # positions along a side: below it, halving would leave fewer than 2


@dataclass(frozen=True, kw_only=True)
class CNNConfig(NetworkConfig):
    """Stages of convolutional blocks; each but the first doubles the channels, each ends by halving the size.

    A stage halves only a map of at least 4 positions along each side, so any number of stages fits any image. The
    default is the common two blocks of 32 and 64 channels with a head of 128 units.

    `temporal` (series alone) keeps channels and length and doubles the dilation at each block instead.
    """

    family: ClassVar[str] = "cnn"
    kinds: ClassVar[tuple[Kind, ...]] = ("image", "series")

    width: int = integer(
        32, low=4, high=2048, unit="channels of the first stage",
        why="cost grows with its square; 8 suits digits, 64 is ResNet's; inception shares them among 4 branches",
    )  # fmt: skip
    stages: int = integer(
        2, low=1, high=6, unit="stages", why="each halves the size: 2 suit 28 pixels, 5 suit 224"
    )
    blocks_per_stage: int = integer(1, low=1, high=16, unit="blocks", why="depth at one size")
    block: str = choice("plain", CONV_BLOCKS, why="plain for shallow nets, shortcuts pay off with depth")
    kernel_size: int = integer(
        3, low=1, high=15, odd=True, unit="pixels or steps", why="two 3x3 see as far as one 5x5 with fewer weights"
    )
    dilation: int = integer(
        1,
        low=1,
        high=16,
        unit="pixels or steps",
        why="distance of the kernel's points: sees farther at equal cost",
    )
    pooling: str = choice("max", HALVINGS, why="how a stage halves: max keeps the strongest answer")
    head_pooling: str = choice("avg", HEAD_POOLINGS, why="how the last map becomes a vector")
    head_grid: int = integer(
        8, low=1, high=16, unit="cells a side",
        why="1 is global pooling, right for deep nets; a shallow net needs to know where it saw something",
    )  # fmt: skip
    head_width: int = integer(
        128, low=0, high=8192, unit="features", why="hidden layer before the output; 0 is none"
    )
    activation: str = choice("relu", ACTIVATIONS, why="relu kinds keep the gradient")
    norm: str = choice(
        "batch", NORMS, why="batch norm is the convolutional default; group or layer for small batches"
    )
    norm_position: str = choice("before", ("before", "after"), why="before the activation is the published order")
    dropout: float = number(
        0.3, low=0.0, high=0.9, unit="share of the head's features", why="before the head's layers, not the output"
    )
    dropout2d: float = number(
        0.0, low=0.0, high=0.9, unit="share of the feature maps", why="low beside batch norm: Li et al. 2019"
    )
    init: str = choice("auto", INIT_NAMES, why="auto chooses by activation")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block == "inception" and self.width < _INCEPTION_WIDTH:
            raise ConfigError(
                f"width >= {_INCEPTION_WIDTH} must hold with block inception, got {self.width}: raise it, for a "
                "norm over a branch of fewer than 4 channels leaves nothing to learn from",
                field="width",
            )

    def warnings(self, info: DataInfo) -> list[SettingWarning]:
        """List settings that the block, the norm or the data leaves without effect, and what harms."""
        found = [*norm_position_warnings(self.norm)]
        if self.block == "temporal":
            found.append(
                no_effect("pooling", because=("block",), text="with block temporal, which keeps the length")
            )
        if self.kernel_size == 1:
            text = "with kernel_size 1: one point has no distance"
            found.append(no_effect("dilation", because=("kernel_size",), text=text))
        if info.kind == "series":
            found.append(no_effect("head_grid", text="on series, which are pooled to one value a channel"))
        if self.block in ("plain", "inception", "dense"):  # shortcuts carry the gradient past the activations
            depth = self.stages * self.blocks_per_stage
            found += saturation_warnings(self.activation, depth, because=("stages", "blocks_per_stage", "block"))
        return [*found, *disharmony_warnings("dropout2d", self.dropout2d, self.norm)]

    def build(self, info: DataInfo, num_outputs: int | None = None) -> CNN:
        """Make the network; see `NetworkConfig.build`."""
        self._check_kind(info)
        network = CNN(self, info, info.num_outputs if num_outputs is None else num_outputs)
        initialize(network, init=self.init, activation=self.activation, output=network.output)
        return network


class Stage(nn.Module):
    """Blocks at one size, then one halving or none.

    Shapes:
        x: (B, C_in, ...), mask: (B, 1, T) or none -> (B, C_out, ...) and its mask
    """

    def __init__(self, blocks: list[nn.Module], downsample: Downsample | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Run the blocks, then halve."""
        for block in self.blocks:
            x = block(x, mask)
        if self.downsample is None:
            return x, mask
        halved: tuple[Tensor, Tensor | None] = self.downsample(x, mask)
        return halved


class CNN(nn.Module):
    """Stem (a plain stack needs none), stages, pooling to a grid, head, linear output.

    A series' padding changes neither outputs nor gradients with norm none, layer or rms, and in evaluation with
    batch; group and instance norm, and batch norm's training statistics, count padded steps.

    Shapes:
        inputs: `image` (B, C, H, W), or `series` (B, T, C) with `lengths` (B,) -> logits (B, num_outputs)
    """

    def __init__(self, config: CNNConfig, info: DataInfo, num_outputs: int) -> None:
        super().__init__()
        channels, sides = _sizes(config, info)
        self.kind = info.kind
        style = ConvStyle(
            spatial=len(sides),
            kernel_size=config.kernel_size,
            activation=config.activation,
            norm=config.norm,
            norm_position=config.norm_position,
            dropout2d=config.dropout2d,
            dilation=config.dilation,
        )
        stemless = config.block in ("plain", "temporal")
        self.stem = None if stemless else ConvUnit(channels, config.width, style)
        channels = channels if stemless else config.width
        stages = []
        for index in range(config.stages):
            stage, channels, sides = _stage(config, style, index, channels, sides)
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.pool = HEAD_POOLINGS[config.head_pooling].factory(side=config.head_grid)
        cells = 1
        if info.kind == "image":
            for side in sides:
                cells *= min(side, config.head_grid)
        self.head = _head(channels * cells, config)
        self.output = nn.Linear(config.head_width or channels * cells, num_outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Map the inputs to logits (B, num_outputs)."""
        mask: Tensor | None = None
        if self.kind == "image":
            x = inputs["image"]
        else:
            x = inputs["series"].transpose(1, 2)  # (B, C, T)
            steps = torch.arange(x.shape[2], device=x.device)
            mask = (steps < inputs["lengths"][:, None])[:, None].to(x.dtype)  # (B, 1, T)
        if self.stem is not None:
            x = self.stem(x, mask)
        for stage in self.stages:
            x, mask = stage(x, mask)
        logits: Tensor = self.output(self.head(self.pool(x, mask)))
        return logits


def _sizes(config: CNNConfig, info: DataInfo) -> tuple[int, tuple[int, ...]]:
    """Read channels and sides of the data, and check that config and data fit."""
    if config.block == "temporal" and info.kind != "series":
        raise ConfigError(
            f"'temporal' is a stack for series, got {info.kind} data: take plain, residual or convnext",
            field="block",
        )
    if info.kind == "image":
        if info.image_shape is None:
            raise ConfigError(
                "a network needs the images' size, got none: give DataInfo.image_shape", field="data"
            )
        channels, *sides = info.image_shape
    else:
        channels, sides = info.num_features, [info.max_length]
    if min(channels, *sides) < 1:
        raise ConfigError(f"channels and sides are at least 1, got {channels} and {sides}", field="data")
    if config.norm == "instance" and max(sides) == 1:
        raise ConfigError("instance norm needs more than one position, got one: take layer or group", field="norm")
    return channels, tuple(sides)


def _stage(
    config: CNNConfig, style: ConvStyle, index: int, channels: int, sides: tuple[int, ...]
) -> tuple[Stage, int, tuple[int, ...]]:
    """Make one stage; returns it with the channels and sides that it leaves."""
    temporal = config.block == "temporal"
    channels_out = config.width if temporal else config.width << index
    # A kernel that spans the whole series sees everything: a larger dilation would only pad.
    longest = max(1, (sides[0] - 1) // max(1, config.kernel_size - 1))
    blocks = []
    for i in range(config.blocks_per_stage):
        depth = index * config.blocks_per_stage + i
        block_style = replace(style, dilation=min(config.dilation << depth, longest)) if temporal else style
        blocks.append(CONV_BLOCKS[config.block].factory(channels, channels_out, block_style))
        channels = channels_out
    if temporal or min(sides) < _SMALLEST_HALVED:
        return Stage(blocks, None), channels, sides
    downsample = HALVINGS[config.pooling].factory(channels, style)
    rounds_up = config.pooling == "stride" or style.spatial == 1
    return Stage(blocks, downsample), channels, tuple((side + rounds_up) // 2 for side in sides)


def _head(features: int, config: CNNConfig) -> nn.Sequential:
    """Make what stands before the output: dropout alone, or a hidden layer between two."""
    if not config.head_width:
        return nn.Sequential(make_dropout("dropout", config.dropout))
    return nn.Sequential(
        nn.Linear(features, config.head_width),
        make_activation(config.activation),
        make_dropout("dropout", config.dropout),
    )
