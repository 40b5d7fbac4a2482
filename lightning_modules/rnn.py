"""The RNN family: texts and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lightning_modules.blocks.activations import ACTIVATIONS, make_activation
from lightning_modules.blocks.dropout import make_dropout
from lightning_modules.blocks.initialization import INIT_NAMES, initialize
from lightning_modules.blocks.normalization import make_norm
from lightning_modules.blocks.pooling import POOLINGS, make_pooling
from lightning_modules.blocks.recurrent import CELLS, RecurrentLayer
from lightning_modules.config import SettingWarning, choice, flag, integer, no_effect, number
from lightning_modules.data.base import DataInfo, Kind
from lightning_modules.errors import ConfigError
from lightning_modules.network import NetworkConfig

_CELL_ACTIVATIONS = ("tanh", "relu")


@dataclass(frozen=True, kw_only=True)
class RNNConfig(NetworkConfig):
    """Recurrent layers over steps, pooled to one vector.

    `activation` is the vanilla cell's (tanh or relu) and, where there is one, that of the head's hidden layer; the
    gated cells fix theirs by their equations.
    """

    family: ClassVar[str] = "rnn"
    kinds: ClassVar[tuple[Kind, ...]] = ("text", "series")

    cell: str = choice("gru", CELLS, why="gated cells carry far; a GRU has 3/4 of the LSTM's weights")
    width: int = integer(
        128, low=4, high=4096, unit="hidden units of each direction", why="cost grows with its square"
    )
    depth: int = integer(1, low=1, high=8, unit="layers", why="one or two suit sentences")
    bidirectional: bool = flag(True, why="reads from both ends at twice the cost")
    pooling: str = choice("max", POOLINGS, why="max and mean see every step, last remembers the end")
    embedding_dim: int = integer(128, low=1, high=4096, unit="features of a token", why="used by texts alone")
    dropout: float = number(
        0.3, low=0.0, high=0.9, unit="share of the features", why="between layers and before the head's layers"
    )
    embedding_dropout: float = number(
        0.1, low=0.0, high=0.9, unit="share of the features", why="of the embeddings, or of a series' channels"
    )
    variational: bool = flag(False, why="one dropout mask for all steps of a row: Gal & Ghahramani 2016")
    norm: str = choice(
        "layer",
        ("none", "layer", "rms"),
        why="of each step behind each layer; batch norm would count padded steps",
    )
    activation: str = choice("tanh", ACTIVATIONS, why="tanh bounds a vanilla cell's state")
    head_width: int = integer(
        0, low=0, high=8192, unit="features", why="hidden layer before the output; 0 is none"
    )
    init: str = choice("auto", INIT_NAMES, why="auto: orthogonal recurrent and xavier input matrices")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell == "vanilla" and self.activation not in _CELL_ACTIVATIONS:
            raise ConfigError(
                f"the vanilla cell's activation must be tanh or relu, got {self.activation!r}: take one of them, "
                "or a gated cell",
                field="activation",
            )

    def warnings(self, info: DataInfo) -> list[SettingWarning]:
        """List settings that the cell, the depth or the data leaves without effect."""
        found = []
        if self.cell != "vanilla" and not self.head_width:
            text = f"with cell {self.cell}, whose equations fix it, and no hidden layer in the head"
            found.append(no_effect("activation", because=("cell", "head_width"), text=text))
        if self.depth == 1 and not self.embedding_dropout:
            text = "with depth 1 and embedding_dropout 0: there is no dropout over steps"
            found.append(no_effect("variational", because=("depth", "embedding_dropout"), text=text))
        if info.kind == "series":
            found.append(no_effect("embedding_dim", text="on series, which are numbers already"))
        return found

    def build(self, info: DataInfo, num_outputs: int | None = None) -> RNN:
        """Make the network; see `NetworkConfig.build`."""
        self._check_kind(info)
        network = RNN(self, info, info.num_outputs if num_outputs is None else num_outputs)
        initialize(network, init=self.init, activation=self.activation, output=network.output)
        return network


class RNN(nn.Module):
    """Embedding or series, dropout, layers with norm and dropout between them, pooling, head, linear output.

    Padding changes neither outputs nor gradients.

    Shapes:
        inputs: `tokens` (B, T) or `series` (B, T, C), and `lengths` (B,) -> logits (B, num_outputs)
    """

    def __init__(self, config: RNNConfig, info: DataInfo, num_outputs: int) -> None:
        super().__init__()
        self.embedding = _embedding(config, info)
        features = config.embedding_dim if self.embedding is not None else info.num_features
        between = "variational" if config.variational else "dropout"
        self.embedding_dropout = make_dropout(between, config.embedding_dropout)
        steps_out = config.width * (1 + config.bidirectional)
        self.layers = nn.ModuleList(
            RecurrentLayer(
                config.cell,
                features if i == 0 else steps_out,
                config.width,
                bidirectional=config.bidirectional,
                activation=config.activation,
            )
            for i in range(config.depth)
        )
        self.norms = nn.ModuleList(make_norm(config.norm, steps_out) for _ in self.layers)
        self.dropouts = nn.ModuleList(make_dropout(between, config.dropout) for _ in self.layers[1:])
        self.pool = make_pooling(
            config.pooling, steps_out, backward_features=config.width if config.bidirectional else 0
        )
        self.head = _head(steps_out, config)
        self.output = nn.Linear(config.head_width or steps_out, num_outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Map the inputs to logits (B, num_outputs)."""
        lengths_B = inputs["lengths"]
        x_BTC = self.embedding(inputs["tokens"]) if self.embedding is not None else inputs["series"]
        x_BTC = self.embedding_dropout(x_BTC)
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x_BTC = norm(layer(self.dropouts[i - 1](x_BTC) if i else x_BTC, lengths_B))
        logits: Tensor = self.output(self.head(self.pool(x_BTC, lengths_B)))
        return logits


def _embedding(config: RNNConfig, info: DataInfo) -> nn.Embedding | None:
    if info.kind == "series":
        if info.num_features < 1:
            raise ConfigError("a series has at least one channel, got 0: give DataInfo.num_features", field="data")
        return None
    if info.vocabulary_size < 2:
        raise ConfigError(
            f"a vocabulary has at least `<pad>` and `<unk>`, got {info.vocabulary_size} words: give "
            "DataInfo.vocabulary_size",
            field="data",
        )
    return nn.Embedding(info.vocabulary_size, config.embedding_dim, padding_idx=0)


def _head(features: int, config: RNNConfig) -> nn.Sequential:
    """Make what stands before the output: dropout alone, or a hidden layer between two dropouts."""
    dropout = make_dropout("dropout", config.dropout)
    if not config.head_width:
        return nn.Sequential(dropout)
    return nn.Sequential(
        dropout,
        nn.Linear(features, config.head_width),
        make_activation(config.activation),
        make_dropout("dropout", config.dropout),
    )
