"""Stacked recurrent layers: one batched matrix product for each step of all members.

torch has neither a batched cell of its own nor a rule for mapping over one. The loop over steps and its gradient are
written out: a step then takes a dozen operations, and automatic differentiation sees the whole loop as one.

Shapes: K members, B rows of each, T steps, H hidden units, G gates in torch's order (LSTM i, f, g, o; GRU r, z, n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.blocks.recurrent import RecurrentLayer
from lightning_modules.fused.cells import CELLS, Cell
from lightning_modules.fused.dense import product
from lightning_modules.fused.stacked import Stacked


class Rows:
    """Which rows have which steps, read on the CPU once a batch.

    Rows may be in any order; in order of falling length, of each member, none is computed behind its end.

    Args:
        lengths: (K, B).
        num_steps: T, at least the longest.
    """

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        valid = lengths.cpu()[..., None] > torch.arange(num_steps)  # (K, B, T)
        places = torch.arange(1, lengths.shape[1] + 1)[:, None]
        self.counts: list[int] = (valid.any(dim=0) * places).amax(dim=0).tolist()
        """Rows to compute at each step: those behind have ended in every member."""
        ended = valid.sum(dim=(0, 1)) < torch.tensor(self.counts) * len(lengths)
        self._ended: list[bool] = ended.tolist()
        self._valid = valid.to(lengths.device)

    def mask(self, step: int, dtype: torch.dtype) -> Tensor | None:
        """Mark the rows that go on at a step, (K, counts[step], 1); None where all do."""
        if not self._ended[step]:
            return None
        return self._valid[:, : self.counts[step], step, None].to(dtype)


class StackedRNNBase(Stacked):
    """The parameters of the members' recurrent layers, by torch's names, and their loops.

    Shapes:
        x: (K * B, T, C), lengths (K * B,) -> (K * B, T, H), or 2 H with both directions; zero behind the end
    """

    def __init__(self, layers: Sequence[nn.RNNBase]) -> None:
        super().__init__(layers)
        first = layers[0]
        self.cell: Cell = CELLS[first.mode]
        self.hidden_size, self.bidirectional = first.hidden_size, first.bidirectional

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Map (K * B, T, C) to (K * B, T, H), or 2 H."""
        num_members = len(self.weight_hh_l0)
        steps = x.shape[1]
        rows = Rows(lengths.reshape(num_members, -1), steps)
        with torch.autocast(x.device.type, enabled=False):
            flat = x.to(self.weight_ih_l0.dtype).reshape(num_members, -1, x.shape[2])
            directions = ("", "_reverse") if self.bidirectional else ("",)
            parts = [self._direction(flat, rows, suffix, steps) for suffix in directions]
            return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)).flatten(0, 1)

    def _direction(self, x: Tensor, rows: Rows, suffix: str, steps: int) -> Tensor:
        """Run one direction over (K, B * T, C); gives (K, B, T, H)."""
        weight_in, weight, bias_in, bias = (
            self.get_parameter(f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        projected = product(x, weight_in, bias_in).unflatten(1, (-1, steps))
        out: Tensor = _Loop.apply(projected, weight, bias, rows, self.cell, suffix != "")
        return out


class StackedRecurrentLayer(nn.Module):
    """Takes the place of `RecurrentLayer`, which packs rows for torch's cells.

    Args:
        layers: The members' own.
    """

    def __init__(self, layers: Sequence[RecurrentLayer]) -> None:
        super().__init__()
        self.cell = StackedRNNBase([layer.cell for layer in layers])

    def forward(self, x_BTC: Tensor, lengths_B: Tensor) -> Tensor:
        """Map (K * B, T, C_in) to (K * B, T, C)."""
        steps: Tensor = self.cell(x_BTC, lengths_B)
        return steps


class _Loop(torch.autograd.Function):
    """All steps of one direction: projected inputs (K, B, T, G H) -> states (K, B, T, H), zero behind the end."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, weight: Tensor, bias: Tensor, rows: Rows, cell: Cell, backwards: bool
    ) -> Tensor:
        num_members, num_rows, num_steps, _ = projected.shape
        hidden = weight.shape[2]
        out = projected.new_zeros(num_members, num_rows, num_steps, hidden)
        turned = weight.transpose(1, 2)
        state = cell.start(projected.new_zeros(num_members, 0, hidden))
        kept: list[Any] = [None] * num_steps
        for step in range(num_steps - 1, -1, -1) if backwards else range(num_steps):
            count = rows.counts[step]
            if count == 0:
                continue
            state = tuple(_resize(part, count) for part in state)
            state, kept[step] = cell.forward(projected[:, :count, step], state, turned, bias)
            mask = rows.mask(step, projected.dtype)
            if mask is not None:
                for part in state:
                    part.mul_(mask)
            out[:, :count, step] = state[0]
        ctx.save_for_backward(weight, out)
        ctx.kept, ctx.rows, ctx.cell, ctx.backwards = kept, rows, cell, backwards
        ctx.shape = projected.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        weight, out = ctx.saved_tensors
        rows, cell = ctx.rows, ctx.cell
        num_members, _, num_steps, hidden = out.shape
        of_projected = out.new_zeros(ctx.shape)
        of_recurrent = of_projected if cell.shares_bias else out.new_zeros(ctx.shape)
        carried = cell.start(out.new_zeros(num_members, 0, hidden))
        for step in range(num_steps) if ctx.backwards else range(num_steps - 1, -1, -1):
            count = rows.counts[step]
            if count == 0:
                continue
            carried = tuple(_resize(part, count) for part in carried)
            carried[0].add_(gradients[0][:, :count, step])
            mask = rows.mask(step, out.dtype)
            if mask is not None:
                for part in carried:
                    part.mul_(mask)
            carried, of_input, of_state = cell.backward(ctx.kept[step], carried, weight)
            of_projected[:, :count, step] = of_input
            if not cell.shares_bias:
                of_recurrent[:, :count, step] = of_state
        before = _shifted(out, backwards=ctx.backwards).flatten(1, 2)
        flat = of_recurrent.flatten(1, 2)
        of_weight = torch.bmm(flat.transpose(1, 2), before)
        return of_projected, of_weight, flat.sum(dim=1), None, None, None


def _resize(state: Tensor, count: int) -> Tensor:
    """Keep the first rows, or add rows that start from zero; a copy that may be changed."""
    if state.shape[1] == count:
        return state
    if state.shape[1] > count:
        return state[:, :count].contiguous()
    more = state.new_zeros(state.shape[0], count - state.shape[1], state.shape[2])
    return torch.cat([state, more], dim=1)


def _shifted(states: Tensor, *, backwards: bool) -> Tensor:
    """Give the state before each step."""
    before = torch.zeros_like(states)
    if backwards:
        before[:, :, :-1] = states[:, :, 1:]
    else:
        before[:, :, 1:] = states[:, :, :-1]
    return before
