"""Stacked recurrent layers: one batched matrix product for each step of all members.

torch has neither a batched cell of its own nor a rule for mapping over one. The loop over steps and its gradient
are written out: a step then takes a dozen operations, and automatic differentiation sees the whole loop as one.

Shapes: K members, B rows of each, T steps, C channels, H hidden units, G gates in torch's order (LSTM i, f, g, o;
GRU r, z, n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.blocks.recurrent import RecurrentLayer
from lightning_modules.fused.cells import CELLS, GRU, LSTM, Cell
from lightning_modules.fused.dense import product
from lightning_modules.fused.lstm import lstm, suits
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacked import Stacked

_CACHE_BYTES = 2**18  # of a core's own cache that a step's gates may take


class Rows:
    """Which rows have which steps, read on the CPU once a batch.

    Rows may be in any order; in order of falling length, of each member, none is computed behind its end.

    Args:
        lengths: (K, B).
        num_steps: T, at least the longest.
        dtype: Of what they are multiplied with.
    """

    def __init__(self, lengths: Tensor, num_steps: int, dtype: torch.dtype) -> None:
        valid = lengths.cpu()[..., None] > torch.arange(num_steps)  # (K, B, T)
        places = torch.arange(1, lengths.shape[1] + 1)[:, None]
        self.counts: list[int] = (valid.any(dim=0) * places).amax(dim=0).tolist()
        """Rows to compute at each step: those behind have ended in every member."""
        ended = valid.sum(dim=(0, 1)) < torch.tensor(self.counts) * len(lengths)
        self._ended: list[bool] = ended.tolist()
        self._valid = valid.to(lengths.device, dtype)

    def mask(self, step: int, members: slice) -> Tensor | None:
        """Mark the rows of some members that go on at a step, (K, counts[step], 1); None where all do."""
        return self._valid[members, : self.counts[step], step, None] if self._ended[step] else None


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
        weight = self.get_parameter("weight_ih_l0")
        num_members = len(weight)
        with torch.autocast(x.device.type, enabled=False):
            own = by_member(x.to(weight.dtype), num_members)
            parts = self._directions(own, lengths.reshape(num_members, -1))
            return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)).flatten(0, 1)

    def _directions(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Run every direction over (K, B, T, C); gives (K, B, T, H) each."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        parameters = [[self.get_parameter(f"{name}_l0{suffix}") for name in names] for suffix in suffixes]
        if isinstance(self.cell, LSTM) and suits(x, lengths, hidden_size=self.hidden_size):
            return [lstm(x, lengths, own, backwards=index == 1) for index, own in enumerate(parameters)]
        rows = Rows(lengths, x.shape[2], x.dtype)
        return [
            _Loop.apply(x, *own, rows, self.cell, index == 1)  # type: ignore[no-untyped-call]
            for index, own in enumerate(parameters)
        ]


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
    """All steps of one direction: (K, B, T, C) -> (K, B, T, H), zero behind the end.

    Members are taken a few at a time, as many as the processor's cache holds: the loop reads what a step leaves at
    the next one.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd takes no keywords)
        ctx: Any,
        x: Tensor,
        weight_in: Tensor,
        weight: Tensor,
        bias_in: Tensor,
        bias: Tensor,
        rows: Rows,
        cell: Cell,
        backwards: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight_in, weight)
        ctx.runs = [
            _Run(rows, cell, members, backwards=backwards)
            for members in _chunks(len(x), x.shape[1] * weight.shape[1] * x.element_size(), x.device)
        ]
        return torch.cat(
            [
                run.forward(*(part[run.members] for part in (x, weight_in, weight, bias_in, bias)))
                for run in ctx.runs
            ]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            run.backward(*(part[run.members] for part in (gradients[0], *ctx.saved_tensors))) for run in ctx.runs
        ]
        return (*(torch.cat(parts) for parts in zip(*found, strict=True)), None, None, None)


class _Run:
    """The loop of some members, forward and then back.

    Args:
        rows: Of all members.
        cell: Theirs.
        members: Which ones.
        backwards: Whether to read from each row's end.
    """

    def __init__(self, rows: Rows, cell: Cell, members: slice, *, backwards: bool) -> None:
        self.members = members
        self._rows, self._cell, self._backwards = rows, cell, backwards
        self._merges = not isinstance(cell, GRU)  # both biases are added to the same sum

    def _steps(self, num_steps: int, *, back: bool) -> Iterator[tuple[int, int, Tensor | None]]:
        """Give each step with its rows and their mask, in the order of the loop."""
        steps = range(num_steps)
        for step in reversed(steps) if back != self._backwards else steps:
            count = self._rows.counts[step]
            if count:
                yield step, count, self._rows.mask(step, self.members)

    def forward(self, x: Tensor, weight_in: Tensor, weight: Tensor, bias_in: Tensor, bias: Tensor) -> Tensor:
        """Run the loop, and keep what `backward` needs."""
        num_members, num_rows, num_steps, _ = x.shape
        hidden = weight.shape[2]
        factors = _by_gate(self._cell.factors, weight)
        inputs = x.transpose(1, 2).contiguous()  # (K, T, B, C): what a step reads lies together
        start = (bias_in + bias if self._merges else bias_in) * factors[..., 0]
        projected = product(inputs.flatten(1, 2), weight_in * factors, start)
        projected = torch.unflatten(projected, 1, (num_steps, num_rows))
        turned, own_bias = (weight * factors).transpose(1, 2), (bias * factors[..., 0])[:, None]
        state = self._cell.start(x.new_zeros(num_members, 0, hidden))
        states = x.new_zeros(num_members, num_steps, num_rows, hidden)
        self._kept: list[Any] = [None] * num_steps
        for step, count, mask in self._steps(num_steps, back=False):
            state = tuple(_resize(part, count) for part in state)
            state, self._kept[step] = self._cell.forward(projected[:, step, :count], state, turned, own_bias)
            if mask is not None:
                for part in state:
                    part.mul_(mask)
            states[:, step, :count] = state[0]
        self._inputs, self._states = inputs, states
        return states.transpose(1, 2)

    def backward(self, gradient: Tensor, x: Tensor, weight_in: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Give the gradients of the input, and of the weights and biases in the order of `forward`."""
        num_members, num_steps, num_rows, hidden = self._states.shape
        slopes = _by_gate(self._cell.slopes, weight)
        steep = weight * slopes
        of_state = x.new_zeros(num_members, num_steps, num_rows, weight.shape[1])
        of_input = of_state if self._merges else torch.zeros_like(of_state)
        carried = self._cell.start(x.new_zeros(num_members, 0, hidden))
        for step, count, mask in self._steps(num_steps, back=True):
            first, *others = (_resize(part, count) for part in carried)
            carried = (first + gradient[:, :count, step], *others)
            if mask is not None:
                carried = tuple(part * mask for part in carried)
            out = of_state[:, step, :count], of_input[:, step, :count]
            carried = self._cell.backward(self._kept[step], carried, steep, out)
        of_state, of_input = of_state.flatten(1, 2), of_input.flatten(1, 2)
        before = _shifted(self._states, backwards=self._backwards).flatten(1, 2)
        of_weight = torch.bmm(of_state.transpose(1, 2), before).mul_(slopes)
        of_weight_in = torch.bmm(of_input.transpose(1, 2), self._inputs.flatten(1, 2)).mul_(slopes)
        of_bias = of_state.sum(dim=1).mul_(slopes[..., 0])
        of_bias_in = of_bias if self._merges else of_input.sum(dim=1).mul_(slopes[..., 0])
        of_x = torch.unflatten(torch.bmm(of_input, weight_in * slopes), 1, (num_steps, num_rows))
        return of_x.transpose(1, 2), of_weight_in, of_weight, of_bias_in, of_bias


def _chunks(num_members: int, bytes_of_step: int, device: torch.device) -> list[slice]:
    """Cut the members into parts of about equal size whose gates of one step fit into the cache."""
    most = num_members if device.type != "cpu" else max(1, _CACHE_BYTES // bytes_of_step)
    parts = -(-num_members // most)
    size = -(-num_members // parts)
    return [slice(start, min(start + size, num_members)) for start in range(0, num_members, size)]


def _by_gate(values: tuple[float, ...], weight: Tensor) -> Tensor:
    """Lay a number of each gate along the weight's axis of gates, (1, G H, 1)."""
    return weight.new_tensor(values).repeat_interleave(weight.shape[1] // len(values))[None, :, None]


def _resize(state: Tensor, count: int) -> Tensor:
    """Keep the first rows, or add rows that start from zero."""
    if state.shape[1] == count:
        return state
    if state.shape[1] > count:
        return state[:, :count].contiguous()
    more = state.new_zeros(state.shape[0], count - state.shape[1], state.shape[2])
    return torch.cat([state, more], dim=1)


def _shifted(states: Tensor, *, backwards: bool) -> Tensor:
    """Give the state before each step, (K, T, B, H)."""
    before = torch.zeros_like(states)
    if backwards:
        before[:, :-1] = states[:, 1:]
    else:
        before[:, 1:] = states[:, :-1]
    return before
