"""Pooling of sequences by name: all steps of a row to one vector, padding left out.

Every factory takes the number of features C and how many of them the backward direction of a bidirectional network
fills (the last ones; 0 without); every module is called as `pool(steps, lengths)`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_modules.registry import Entry, Registry


def valid_steps(num_steps: int, lengths: Tensor) -> Tensor:
    """Mark the steps before each row's end.

    Returns:
        (B, T) bool.
    """
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


class LastPool(nn.Module):
    """The state after the whole row: forward at step `length - 1`, backward at step 0.

    Shapes:
        steps: (B, T, C), lengths: (B,) -> (B, C)
    """

    def __init__(self, features: int, backward_features: int) -> None:
        super().__init__()
        self.forward_features = features - backward_features

    def forward(self, steps_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (B, T, C) to (B, C)."""
        rows = torch.arange(steps_BTC.shape[0], device=steps_BTC.device)
        last = steps_BTC[rows, lengths_B - 1, : self.forward_features]
        return torch.cat([last, steps_BTC[:, 0, self.forward_features :]], dim=1)


class MeanPool(nn.Module):
    """The mean over the valid steps.

    Shapes:
        steps: (B, T, C), lengths: (B,) -> (B, C)
    """

    def __init__(self, features: int, backward_features: int) -> None:
        super().__init__()

    def forward(self, steps_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (B, T, C) to (B, C)."""
        valid_BT1 = valid_steps(steps_BTC.shape[1], lengths_B)[..., None]
        return steps_BTC.masked_fill(~valid_BT1, 0.0).sum(dim=1) / lengths_B[:, None]


class MaxPool(nn.Module):
    """The largest value of each feature over the valid steps.

    Shapes:
        steps: (B, T, C), lengths: (B,) -> (B, C)
    """

    def __init__(self, features: int, backward_features: int) -> None:
        super().__init__()

    def forward(self, steps_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (B, T, C) to (B, C)."""
        valid_BT1 = valid_steps(steps_BTC.shape[1], lengths_B)[..., None]
        return steps_BTC.masked_fill(~valid_BT1, -torch.inf).amax(dim=1)


class AttentionPool(nn.Module):
    """Scaled dot-product attention of one learned query to the valid steps.

    The query starts at zero, so that training starts from the mean.

    Shapes:
        steps: (B, T, C), lengths: (B,) -> (B, C)

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, eq. 1; Yang et al. 2016, NAACL (a learned query for text).
    """

    def __init__(self, features: int, backward_features: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(features))
        self.scale = 1.0 / math.sqrt(features)

    def forward(self, steps_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (B, T, C) to (B, C)."""
        scores_BT = (steps_BTC @ self.query) * self.scale
        scores_BT = scores_BT.masked_fill(~valid_steps(steps_BTC.shape[1], lengths_B), -torch.inf)
        return (scores_BT.softmax(dim=1)[:, None] @ steps_BTC)[:, 0]


_SHAPES = "(B, T, C) -> (B, C)"

POOLINGS: Registry[nn.Module] = Registry(
    "pooling",
    [
        Entry(
            name="last",
            factory=LastPool,
            formula="[forward h_(L-1), backward h_0]",
            range=_SHAPES,
            used_for="short rows whose end decides",
            source="Sutskever et al. 2014, arXiv:1409.3215",
        ),
        Entry(
            name="mean",
            factory=MeanPool,
            formula="sum_(t < L) h_t / L",
            range=_SHAPES,
            used_for="rows of which every step says something",
            source="Conneau et al. 2017, arXiv:1705.02364, sec. 3.2.2",
        ),
        Entry(
            name="max",
            factory=MaxPool,
            formula="max_(t < L) h_t, for each feature",
            range=_SHAPES,
            used_for="rows of which one step decides; the default",
            source="Conneau et al. 2017, arXiv:1705.02364, sec. 3.2.2",
        ),
        Entry(
            name="attention",
            factory=AttentionPool,
            formula="sum_t softmax_t(q h_t / sqrt(C)) h_t over t < L, q learned",
            range=_SHAPES,
            used_for="long rows; the weights show what was read",
            source="Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
        ),
    ],
    title="From steps to a vector",
    about="How a row of steps becomes one vector. Steps behind the end of a row have no part in it.",
)


def make_pooling(name: str, features: int, *, backward_features: int = 0) -> nn.Module:
    """Make a pooling.

    Raises:
        ConfigError: No pooling has this name.
    """
    return POOLINGS[name].factory(features, backward_features)
