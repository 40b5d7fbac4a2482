"""How members lie in a tensor: one behind the other along the rows, (K * B, ...), or on an axis of their own.

The first is what passes through a stacked network: whatever works on each row alone, works on it unchanged.
"""

from __future__ import annotations

from torch import Tensor


def by_member(x: Tensor, num_members: int) -> Tensor:
    """Give the members an axis of their own: (K * B, ...) to (K, B, ...)."""
    return x.reshape(num_members, -1, *x.shape[1:])
