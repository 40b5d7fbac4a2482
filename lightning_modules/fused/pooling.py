"""The pooling that learns: attention with a query of each member."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.blocks.pooling import AttentionPool, valid_steps
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacked import Stacked


class StackedAttentionPool(Stacked):
    """As `AttentionPool`.

    Shapes:
        steps: (K * B, T, C), lengths: (K * B,) -> (K * B, C); query (K, C)
    """

    query: Tensor

    def __init__(self, layers: Sequence[AttentionPool]) -> None:
        super().__init__(layers)
        self.scale = layers[0].scale

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Map (K * B, T, C) to (K * B, C)."""
        rows = by_member(steps, len(self.query)).flatten(1, 2)  # (K, B * T, C)
        scores = (rows @ self.query[..., None]).reshape(steps.shape[:2]) * self.scale
        scores = scores.masked_fill(~valid_steps(steps.shape[1], lengths), -torch.inf)
        return (scores.softmax(dim=1)[:, None] @ steps)[:, 0]
