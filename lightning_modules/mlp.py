"""The MLP family: tables, and small images laid flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_modules.blocks.activations import ACTIVATIONS
from lightning_modules.blocks.dense import DENSE_BLOCKS, DenseStyle
from lightning_modules.blocks.dropout import make_dropout
from lightning_modules.blocks.initialization import INIT_NAMES, initialize
from lightning_modules.blocks.normalization import make_norm
from lightning_modules.config import SettingWarning, choice, flag, integer, no_effect, number
from lightning_modules.data.base import DataInfo, Kind
from lightning_modules.errors import ConfigError
from lightning_modules.network import (
    NetworkConfig,
    disharmony_warnings,
    norm_position_warnings,
    saturation_warnings,
)

_NARROWEST = 4  # features of a layer: a norm over fewer leaves nothing to learn from


@dataclass(frozen=True, kw_only=True)
class MLPConfig(NetworkConfig):
    """Layers of full connections.

    `plain` has `depth` hidden layers. `residual` and the gated blocks have a linear map to the model's width and
    `depth` blocks behind it.
    """

    family: ClassVar[str] = "mlp"
    kinds: ClassVar[tuple[Kind, ...]] = ("tabular", "image")

    width: int = integer(
        128, low=_NARROWEST, high=16384, unit="features",
        why="capacity of a layer; cost grows with its square, and a norm needs some features",
    )  # fmt: skip
    depth: int = integer(
        2, low=1, high=64, unit="blocks", why="one to four suit tables; more wants residual blocks"
    )
    taper: bool = flag(False, why="halve the width at each block, down to 4: a funnel has fewer weights")
    block: str = choice("plain", DENSE_BLOCKS, why="plain for shallow nets, residual or gated for deeper ones")
    activation: str = choice("relu", ACTIVATIONS, why="relu kinds keep the gradient; gated blocks bring their own")
    norm: str = choice(
        "batch",
        ("none", "batch", "layer", "group", "rms"),
        why="instance norm has no positions to average over here",
    )
    norm_position: str = choice("before", ("before", "after"), why="before the activation is the published order")
    dropout: float = number(
        0.1, low=0.0, high=0.9, unit="share of the hidden features", why="against overfitting; never on the output"
    )
    input_dropout: float = number(
        0.0, low=0.0, high=0.9, unit="share of the inputs", why="for many redundant inputs; 0.2 is usual"
    )
    embedding_dim: int = integer(
        8, low=1, high=1024, unit="features per categorical column", why="used only where a table has categories"
    )
    init: str = choice("auto", INIT_NAMES, why="auto chooses by activation")

    def warnings(self, info: DataInfo) -> list[SettingWarning]:
        """List settings that the block, the norm or the data leaves without effect, and what harms."""
        found = [*norm_position_warnings(self.norm)]
        if _is_gated(self.block):
            rest = ", but for the initial weights that init auto chooses by it" if self.init == "auto" else ""
            text = f"with block {self.block}, whose gate is its activation{rest}"
            found.append(no_effect("activation", because=("block",), text=text))
        if self.depth == 1:
            found.append(no_effect("taper", because=("depth",), text="with depth 1: there is no narrower block"))
        if not info.cardinalities:
            found.append(no_effect("embedding_dim", text="on data without categorical columns"))
        if self.block == "plain":  # shortcuts carry the gradient past the activations
            found += saturation_warnings(self.activation, self.depth, because=("depth", "block"))
        return [*found, *disharmony_warnings("dropout", self.dropout, self.norm)]

    def widths(self) -> list[int]:
        """List the width of each block."""
        return [max(_NARROWEST, self.width >> i) if self.taper else self.width for i in range(self.depth)]

    def build(self, info: DataInfo, num_outputs: int | None = None) -> MLP:
        """Make the network; see `NetworkConfig.build`."""
        self._check_kind(info)
        network = MLP(self, info, info.num_outputs if num_outputs is None else num_outputs)
        initialize(network, init=self.init, activation=self.activation, output=network.output)
        return network


class MLP(nn.Module):
    """Embeddings beside numbers, or a flat image; blocks; a linear output without activation or dropout.

    The unknown category (code 0) has the zero vector: training never sees it, so a learned vector would be noise.

    Shapes:
        inputs: `numeric` (B, F) and `categories` (B, K), or `image` (B, C, H, W) -> logits (B, num_outputs)
    """

    def __init__(self, config: MLPConfig, info: DataInfo, num_outputs: int) -> None:
        super().__init__()
        self.kind = info.kind
        self.num_numeric = info.num_features if info.kind == "tabular" else 0
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, config.embedding_dim, padding_idx=0) for size in info.cardinalities
        )
        features = prod(info.image_shape or ()) if info.kind == "image" else info.num_features
        features += len(info.cardinalities) * config.embedding_dim
        if features == 0 or (info.kind == "image" and info.image_shape is None):
            raise ConfigError(
                f"a network needs at least one input, got {info.kind} data without any: give DataInfo its sizes",
                field="data",
            )
        self.input_dropout = make_dropout("dropout", config.input_dropout)
        style = DenseStyle(
            activation=config.activation,
            norm=config.norm,
            norm_position=config.norm_position,
            dropout=config.dropout,
        )
        widths = config.widths()
        plain = config.block == "plain"
        self.entry = nn.Identity() if plain else nn.Linear(features, widths[0])
        block = DENSE_BLOCKS[config.block].factory
        sizes = [features if plain else widths[0], *widths]
        self.blocks = nn.Sequential(*(block(i, o, style) for i, o in zip(sizes, widths, strict=False)))
        # A pre-norm stack leaves its sum unnormalized: Xiong et al. 2020, arXiv:2002.04745, Fig. 1(b).
        closing = _is_gated(config.block) and config.norm_position == "before"
        self.closing_norm = make_norm(config.norm, widths[-1]) if closing else nn.Identity()
        self.output = nn.Linear(widths[-1], num_outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Map the inputs to logits (B, num_outputs)."""
        x_BF = self.input_dropout(self._features(inputs))
        logits: Tensor = self.output(self.closing_norm(self.blocks(self.entry(x_BF))))
        return logits

    def _features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if self.kind == "image":
            return inputs["image"].flatten(1)
        parts = [inputs["numeric"]] if self.num_numeric else []
        if len(self.embeddings):
            codes_BK = inputs["categories"]
            parts += [embed(codes_BK[:, k]) for k, embed in enumerate(self.embeddings)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _is_gated(block: str) -> bool:
    return block not in ("plain", "residual")
