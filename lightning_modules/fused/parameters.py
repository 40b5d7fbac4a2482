"""All members' trained parameters in one tensor, and their gradients in another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """A stacked network's parameters as views of one tensor, `values`, (K, P): a row holds a member's.

    A step of an optimizer, a norm, or a member's leaving then touches one tensor and not one for each layer. The
    parameters of a group lie side by side.

    Args:
        network: Stacked; its parameters, (K, ...), become views.
        groups: Names of the parameters of each of the optimizer's groups.

    Attributes:
        values: (K, P).
        gradients: (K, P), of the last `set_gradients`.
        spans: Columns of each group, as (start, stop).
    """

    def __init__(self, network: nn.Module, groups: Sequence[Sequence[str]]) -> None:
        parameters = dict(network.named_parameters())
        self.names = [name for group in groups for name in group]
        self._leaves = [parameters[name] for name in self.names]
        self._shapes = [leaf.shape[1:] for leaf in self._leaves]
        self._sizes = [shape.numel() for shape in self._shapes]
        columns = dict(zip(self.names, self._sizes, strict=True))
        self.spans: list[tuple[int, int]] = []
        start = 0
        for group in groups:
            stop = start + sum(columns[name] for name in group)
            self.spans.append((start, stop))
            start = stop
        self._bind(torch.cat([leaf.detach().flatten(1) for leaf in self._leaves], dim=1))

    def _bind(self, values: Tensor) -> None:
        self.values, self.gradients = values, torch.zeros_like(values)
        for leaf, part in zip(self._leaves, torch.split(values, self._sizes, dim=1), strict=True):
            leaf.data = torch.unflatten(part, 1, leaf.shape[1:]) if leaf.ndim > 2 else part
            leaf.grad = None

    def keep(self, members: Sequence[int]) -> None:
        """Drop all rows but those of some members."""
        self._bind(self.values[list(members)])

    def set_gradients(self, losses: Tensor) -> None:
        """Compute every member's gradient of its own loss.

        Args:
            losses: (K,); a member's loss depends on its own parameters alone.
        """
        found = torch.autograd.grad(losses.sum(), self._leaves)
        torch.cat([gradient.flatten(1) for gradient in found], dim=1, out=self.gradients)

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Cut a row, (P,), of a tensor like `values` into copies of a member's parameters, by name."""
        parts = torch.split(row, self._sizes)
        triples = zip(self.names, parts, self._shapes, strict=True)
        return {name: part.reshape(shape).clone() for name, part, shape in triples}

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Lay tensors of the parameters' shapes, in their order, into a row."""
        return torch.cat([part.reshape(-1) for part in parts])

    def columns(self, name: str) -> tuple[int, int]:
        """Say which columns hold a parameter, as (start, stop)."""
        index = self.names.index(name)
        start = sum(self._sizes[:index])
        return start, start + self._sizes[index]
