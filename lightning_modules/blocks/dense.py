"""Fully connected blocks: (B, F_in) features to (B, F_out)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lightning_modules.blocks.activations import make_activation
from lightning_modules.blocks.dropout import make_dropout
from lightning_modules.blocks.normalization import make_norm
from lightning_modules.registry import Entry, Registry

_GATES = {"swiglu": "silu", "geglu": "gelu", "siglu": "sigmoid"}
_EXPANSION = 2  # hidden width of the plain feed-forward that a gated one stands for, in widths of the block


@dataclass(frozen=True, kw_only=True)
class DenseStyle:
    """What all blocks of one network share."""

    activation: str
    norm: str
    norm_position: str  # before or after the activation
    dropout: float


class PlainDense(nn.Module):
    """Linear, norm, activation, dropout; or the norm behind the activation. No bias in front of batch norm.

    Shapes:
        x: (B, F_in) -> (B, F_out)

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, sec. 3.2 (norm before the activation).
    """

    def __init__(self, features_in: int, features_out: int, style: DenseStyle) -> None:
        super().__init__()
        self.norm_first = style.norm_position == "before"
        # Batch norm takes a bias before it away again: its gradient would be rounding alone, which Adam makes
        # steps as large as any of, and the running mean follows them with a lag.
        self.linear = nn.Linear(features_in, features_out, bias=not (style.norm == "batch" and self.norm_first))
        self.norm = make_norm(style.norm, features_out)
        self.activation = make_activation(style.activation)
        self.dropout = make_dropout("dropout", style.dropout)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Map (B, F_in) to (B, F_out)."""
        x_BF = self.linear(x_BF)
        x_BF = self.activation(self.norm(x_BF)) if self.norm_first else self.norm(self.activation(x_BF))
        dropped: Tensor = self.dropout(x_BF)
        return dropped


class ResidualDense(nn.Module):
    """A plain block around which the input goes, through a linear map where the width changes.

    Shapes:
        x: (B, F_in) -> (B, F_out)

    Source:
        He et al. 2016, arXiv:1512.03385, eq. 1 and 2; for tables Gorishniy et al. 2021, arXiv:2106.11959.
    """

    def __init__(self, features_in: int, features_out: int, style: DenseStyle) -> None:
        super().__init__()
        self.branch = PlainDense(features_in, features_out, style)
        self.shortcut = _shortcut(features_in, features_out)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Map (B, F_in) to (B, F_out)."""
        out: Tensor = self.shortcut(x_BF) + self.branch(x_BF)
        return out


class GatedFeedForward(nn.Module):
    """`(act(x W2) * (x W1)) Wo`, where a plain feed-forward has `act(x W1) Wo`.

    The hidden width is 2/3 of the plain one's, so that the three matrices hold as many weights as the plain two.

    Shapes:
        x: (B, F_in) -> (B, F_out)

    Args:
        features_in: F_in.
        features_out: F_out.
        gate: swiglu, geglu or siglu.
        expansion: Hidden width of the plain feed-forward, in multiples of F_out.

    Source:
        Shazeer 2020, arXiv:2002.05202, eq. 5 and sec. 2.
    """

    def __init__(self, features_in: int, features_out: int, *, gate: str, expansion: int = _EXPANSION) -> None:
        super().__init__()
        hidden = max(1, round(2 * expansion * features_out / 3))
        self.value = nn.Linear(features_in, hidden)
        self.gate = nn.Linear(features_in, hidden)
        self.activation = make_activation(_GATES[gate])
        self.out = nn.Linear(hidden, features_out)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Map (B, F_in) to (B, F_out)."""
        out: Tensor = self.out(self.value(x_BF) * self.activation(self.gate(x_BF)))
        return out


class GatedDense(nn.Module):
    """A gated feed-forward with norm, dropout and shortcut.

    `norm_position: before` normalizes what enters the branch, `after` what leaves the sum.

    Shapes:
        x: (B, F_in) -> (B, F_out)

    Source:
        Xiong et al. 2020, arXiv:2002.04745 (the norm's two places).
    """

    def __init__(self, features_in: int, features_out: int, style: DenseStyle, *, gate: str) -> None:
        super().__init__()
        self.norm_first = style.norm_position == "before"
        self.norm = make_norm(style.norm, features_in if self.norm_first else features_out)
        self.branch = GatedFeedForward(features_in, features_out, gate=gate)
        self.dropout = make_dropout("dropout", style.dropout)
        self.shortcut = _shortcut(features_in, features_out)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Map (B, F_in) to (B, F_out)."""
        entering = self.norm(x_BF) if self.norm_first else x_BF
        x_BF = self.shortcut(x_BF) + self.dropout(self.branch(entering))
        out: Tensor = x_BF if self.norm_first else self.norm(x_BF)
        return out


def _shortcut(features_in: int, features_out: int) -> nn.Module:
    return nn.Identity() if features_in == features_out else nn.Linear(features_in, features_out, bias=False)


def _gated(gate: str, formula: str) -> Entry[nn.Module]:
    def factory(features_in: int, features_out: int, style: DenseStyle) -> nn.Module:
        return GatedDense(features_in, features_out, style, gate=gate)

    return Entry(
        name=gate,
        factory=factory,
        formula=formula,
        range="(B, F_in) -> (B, F_out)",
        used_for="tables with products of features; its own activation takes the place of the config's",
        source="Shazeer 2020, arXiv:2002.05202",
    )


DENSE_BLOCKS: Registry[nn.Module] = Registry(
    "block",
    [
        Entry(
            name="plain",
            factory=PlainDense,
            formula="dropout(act(norm(x W + b)))",
            range="(B, F_in) -> (B, F_out)",
            used_for="the default",
            source="Rumelhart et al. 1986",
        ),
        Entry(
            name="residual",
            factory=ResidualDense,
            formula="x + dropout(act(norm(x W + b)))",
            range="(B, F_in) -> (B, F_out)",
            used_for="three layers and more",
            source="He et al. 2016, arXiv:1512.03385",
        ),
        _gated("swiglu", "x + dropout((n W1 * silu(n W2)) Wo), n = norm(x)"),
        _gated("geglu", "x + dropout((n W1 * gelu(n W2)) Wo), n = norm(x)"),
        _gated("siglu", "x + dropout((n W1 * sigmoid(n W2)) Wo), n = norm(x)"),
    ],
    title="Dense blocks",
    about="plain up to two or three layers; residual and gated ones carry the gradient past their branch, so "
    "they may be deeper. The hidden width of a gated block is 2/3 of a plain feed-forward's, so that its "
    "three matrices hold as many weights as two. Plain and residual blocks have no b in front of batch norm, "
    "which takes it away again.",
)
