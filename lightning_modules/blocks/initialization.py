"""Initialization by name, with torch's global generator: the caller seeds it.

The variances: xavier 2 / (fan_in + fan_out), he 2 / fan_in, lecun 1 / fan_in. Biases start at zero. The fans of a
grouped convolution are those of one group, and those of a recurrent cell are of one gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_modules.registry import Entry, Registry

Fill = Callable[[Tensor, int, int], None]
"""Fills a weight in place, given fan_in and fan_out."""

_RELU_KIND = frozenset(
    {"relu", "leaky_relu", "prelu", "rrelu", "elu", "gelu", "gelu_tanh", "silu", "swish", "mish"}
)


def _normal(variance: Callable[[int, int], float]) -> Fill:
    def fill(weight: Tensor, fan_in: int, fan_out: int) -> None:
        nn.init.normal_(weight, std=math.sqrt(variance(fan_in, fan_out)))

    return fill


def _uniform(variance: Callable[[int, int], float]) -> Fill:
    def fill(weight: Tensor, fan_in: int, fan_out: int) -> None:
        bound = math.sqrt(3.0 * variance(fan_in, fan_out))  # U(-b, b) has variance b^2 / 3
        nn.init.uniform_(weight, -bound, bound)

    return fill


def _xavier(fan_in: int, fan_out: int) -> float:
    return 2.0 / (fan_in + fan_out)


def _he(fan_in: int, fan_out: int) -> float:
    return 2.0 / fan_in


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1.0 / fan_in


_XAVIER = "Glorot & Bengio 2010, PMLR 9:249"
_HE = "He et al. 2015, arXiv:1502.01852"
_LECUN = "LeCun et al. 1998, Efficient BackProp, sec. 4.6"

INITS: Registry[Fill] = Registry(
    "init",
    [
        Entry(
            name="xavier_uniform",
            factory=lambda: _uniform(_xavier),
            formula="U(-b, b), b = sqrt(6 / (fan_in + fan_out))",
            range="variance 2 / (fan_in + fan_out)",
            used_for="sigmoid, tanh, outputs",
            source=_XAVIER,
        ),
        Entry(
            name="xavier_normal",
            factory=lambda: _normal(_xavier),
            formula="N(0, 2 / (fan_in + fan_out))",
            range="variance 2 / (fan_in + fan_out)",
            used_for="sigmoid, tanh, outputs",
            source=_XAVIER,
        ),
        Entry(
            name="he_uniform",
            factory=lambda: _uniform(_he),
            formula="U(-b, b), b = sqrt(6 / fan_in)",
            range="variance 2 / fan_in",
            used_for="the relu kind",
            source=_HE,
        ),
        Entry(
            name="he_normal",
            factory=lambda: _normal(_he),
            formula="N(0, 2 / fan_in)",
            range="variance 2 / fan_in",
            used_for="the relu kind",
            source=_HE,
        ),
        Entry(
            name="lecun_uniform",
            factory=lambda: _uniform(_lecun),
            formula="U(-b, b), b = sqrt(3 / fan_in)",
            range="variance 1 / fan_in",
            used_for="selu, linear layers",
            source=_LECUN,
        ),
        Entry(
            name="lecun_normal",
            factory=lambda: _normal(_lecun),
            formula="N(0, 1 / fan_in)",
            range="variance 1 / fan_in",
            used_for="selu, linear layers",
            source=_LECUN,
        ),
    ],
    title="Initializations",
    about="`auto` chooses by activation: he for the relu kind, xavier for sigmoid, tanh and the output layer, "
    "lecun for selu. Biases start at zero. Recurrent matrices are orthogonal, and the forget gate of an "
    "LSTM starts open.",
)

INIT_NAMES = ("auto", *INITS)


def auto_init(activation: str) -> str:
    """Choose by activation: he for the relu kind, lecun for selu, xavier for sigmoid, tanh and softmax."""
    if activation in _RELU_KIND:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "xavier_uniform"


def initialize(network: nn.Module, *, init: str, activation: str, output: nn.Linear | None = None) -> None:
    """Draw the weights of all dense, convolutional, recurrent and embedding layers anew; biases become zero.

    With `auto` the output layer, behind which no activation stands, is drawn by xavier. Recurrent matrices are
    orthogonal gate by gate (Saxe et al. 2014, arXiv:1312.6120), the input matrices of recurrent cells follow
    `init` (xavier with `auto`, for their gates are sigmoids), and the forget gate's bias starts at 1 (Jozefowicz
    et al. 2015, PMLR 37:2342). Embeddings are N(0, 1 / dimension), their padding row zero. Norms and learned
    slopes keep their starting values.

    Args:
        network: Changed in place.
        init: A name of `INITS`, or `auto`.
        activation: The hidden layers' activation, by which `auto` chooses.
        output: The network's last layer.

    Raises:
        ConfigError: No initialization has this name.
    """
    hidden = INITS[auto_init(activation) if init == "auto" else init].factory()
    last = INITS["xavier_uniform"].factory() if init == "auto" else hidden
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                _fill_dense(layer, last if layer is output else hidden)
            elif isinstance(layer, nn.RNNBase):
                _fill_recurrent(layer, last if init == "auto" else hidden)
            elif isinstance(layer, nn.Embedding):
                nn.init.normal_(layer.weight, std=1.0 / math.sqrt(layer.embedding_dim))
                if layer.padding_idx is not None:
                    layer.weight[layer.padding_idx].zero_()


def _fill_dense(layer: nn.Linear | nn.Conv1d | nn.Conv2d, fill: Fill) -> None:
    positions = layer.weight[0, 0].numel()
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    fill(layer.weight, layer.weight.shape[1] * positions, layer.weight.shape[0] * positions // groups)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _fill_recurrent(layer: nn.RNNBase, fill: Fill) -> None:
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            if layer.mode == "LSTM" and name.startswith("bias_ih"):  # gates in torch's order i, f, g, o
                parameter[layer.hidden_size : 2 * layer.hidden_size].fill_(1.0)
            continue
        for gate in torch.split(parameter, layer.hidden_size):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(gate)
            else:
                fill(gate, gate.shape[1], gate.shape[0])
