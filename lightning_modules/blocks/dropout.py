"""Dropout by name. All are inverted: kept values are divided by 1 - p in training; evaluation changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.registry import Entry, Registry


class VariationalDropout(nn.Module):
    """Dropout for sequences: one mask per row and feature, the same for all time steps.

    Shapes:
        x: (B, T, C) -> (B, T, C), mask (B, 1, C)

    Args:
        p: Share of the features that is dropped; 0 <= p < 1.

    Source:
        Gal & Ghahramani 2016, arXiv:1512.05287.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Drop features, in training alone."""
        if not self.training or self.p == 0.0:
            return x_BTC
        keep = 1.0 - self.p
        mask_B1C = torch.empty_like(x_BTC[:, :1]).bernoulli_(keep) / keep
        return x_BTC * mask_B1C

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"p={self.p}"


DROPOUTS: Registry[nn.Module] = Registry(
    "dropout",
    [
        Entry(
            name="dropout",
            factory=nn.Dropout,
            formula="x m / (1 - p), m ~ Bernoulli(1 - p) for each value",
            range="as the input",
            used_for="hidden layers, inputs and embeddings",
            source="Srivastava et al. 2014, JMLR 15:1929",
            where="mlp `dropout`, `input_dropout`; cnn `dropout` (head); rnn `dropout`, `embedding_dropout`",
        ),
        Entry(
            name="dropout1d",
            factory=nn.Dropout1d,
            formula="as dropout, one m for each channel of a series",
            range="as the input",
            used_for="1-d convolutions",
            source="Tompson et al. 2015, arXiv:1411.4280",
            where="cnn `dropout2d` on series",
        ),
        Entry(
            name="dropout2d",
            factory=nn.Dropout2d,
            formula="as dropout, one m for each feature map",
            range="as the input",
            used_for="2-d convolutions, whose neighbouring pixels say the same",
            source="Tompson et al. 2015, arXiv:1411.4280",
            where="cnn `dropout2d` on images",
        ),
        Entry(
            name="variational",
            factory=VariationalDropout,
            formula="as dropout, one m for each feature and all time steps",
            range="as the input",
            used_for="recurrent nets",
            source="Gal & Ghahramani 2016, arXiv:1512.05287",
            where="rnn `dropout`, `embedding_dropout` with `variational: true`",
        ),
    ],
    title="Dropout",
    about="All are inverted: what is kept is divided by 1 - p in training, and evaluation changes nothing. None "
    "stands on an output layer. Beside batch norm keep the rate low, for the variance that the norm has "
    "learned is another one in evaluation (Li et al. 2019, arXiv:1801.05134).",
)


def make_dropout(name: str, p: float) -> nn.Module:
    """Make a dropout layer; at rate 0 it passes everything and draws nothing, and the network keeps its shape.

    Raises:
        ConfigError: No dropout has this name.
    """
    return DROPOUTS[name].factory(p)


_MOST_BESIDE_BATCH_NORM = 0.3  # what the search spaces offer for whole feature maps


def disharmony(rate: float, norm: str) -> str | None:
    """Say what much dropout does in front of a batch norm, in the same or the next block; None where it does not.

    Dropout changes the variance of what a norm sees in training; in evaluation the norm goes by that variance, and
    nothing is dropped.

    Source:
        Li et al. 2019, arXiv:1801.05134.
    """
    if norm != "batch" or rate <= _MOST_BESIDE_BATCH_NORM:
        return None
    return (
        f"{rate:g} shifts the variance that batch norm learns and then uses without dropout: take at most "
        f"{_MOST_BESIDE_BATCH_NORM}, or norm layer"
    )
