"""Recurrent layers by name, packed so that padding is never read."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_modules.registry import Entry, Registry


def _vanilla(features_in: int, width: int, bidirectional: bool, activation: str) -> nn.RNNBase:
    return nn.RNN(features_in, width, nonlinearity=activation, bidirectional=bidirectional, batch_first=True)


def _lstm(features_in: int, width: int, bidirectional: bool, activation: str) -> nn.RNNBase:
    return nn.LSTM(features_in, width, bidirectional=bidirectional, batch_first=True)


def _gru(features_in: int, width: int, bidirectional: bool, activation: str) -> nn.RNNBase:
    return nn.GRU(features_in, width, bidirectional=bidirectional, batch_first=True)


CELLS: Registry[nn.RNNBase] = Registry(
    "cell",
    [
        Entry(
            name="vanilla",
            factory=_vanilla,
            formula="h' = act(W x + b + U h + c), act tanh or relu",
            range="(-1, 1) with tanh",
            used_for="baselines, short rows",
            source="Elman 1990, doi:10.1207/s15516709cog1402_1",
        ),
        Entry(
            name="lstm",
            factory=_lstm,
            formula="i, f, o = s(W x + U h + b), g = tanh(W x + U h + b), c' = f c + i g, h' = o tanh(c')",
            range="(-1, 1)",
            used_for="long rows",
            source="Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate)",
        ),
        Entry(
            name="gru",
            factory=_gru,
            formula="r, z = s(W x + U h + b), n = tanh(W x + b + r (U h + c)), h' = (1 - z) n + z h",
            range="(-1, 1)",
            used_for="the default: 3/4 of the LSTM's weights",
            source="Cho et al. 2014, arXiv:1406.1078",
        ),
    ],
    title="Recurrent cells",
    about="Rows are packed, so padding is never read: it changes neither an output nor a gradient. Gradients "
    "are clipped by norm, `clip_norm: 1` by default, for through many steps they can explode.",
)


class RecurrentLayer(nn.Module):
    """One layer, in one or both directions; the backward one starts at each row's own end.

    Shapes:
        x: (B, T, C_in), lengths: (B,) -> (B, T, C), C is width or twice width; zero behind the end

    Args:
        cell: A name of `CELLS`.
        features_in: C_in.
        width: Hidden units of each direction.
        bidirectional: Whether to read from both ends.
        activation: tanh or relu, of the vanilla cell alone.

    Raises:
        ConfigError: No cell has this name.
    """

    def __init__(
        self, cell: str, features_in: int, width: int, *, bidirectional: bool, activation: str = "tanh"
    ) -> None:
        super().__init__()
        self.cell = CELLS[cell].factory(features_in, width, bidirectional, activation)

    def forward(self, x_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (B, T, C_in) to (B, T, C)."""
        # Packing wants the lengths on the CPU, and sorts rows itself.
        packed = pack_padded_sequence(x_BTC, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        steps, _ = self.cell(packed)
        return pad_packed_sequence(steps, batch_first=True, total_length=x_BTC.shape[1])[0]
