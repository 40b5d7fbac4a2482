"""The equations of the recurrent cells and their gradients, one step of several members at a time.

A state is a tuple of (K, n, H): the hidden state, and for an LSTM the cell's. A hyperbolic tangent is taken as
2 s(2x) - 1, which torch computes four times as fast (131,072 values: 90 microseconds against 340); the factor
inside lies in the weights, `Cell.factors`, so that one call serves all gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

State = tuple[Tensor, ...]


class Cell(ABC):
    """One kind of cell, with G gates in torch's order.

    Attributes:
        factors: On the weights of each gate, going forward.
        slopes: What the gradients that `backward` gives are to be multiplied by, gate by gate; the weights are
            multiplied once in their place.
    """

    factors: tuple[float, ...]
    slopes: tuple[float, ...]

    def start(self, zeros: Tensor) -> State:
        """Give the first state."""
        return (zeros,)

    @abstractmethod
    def forward(self, x: Tensor, state: State, weight: Tensor, bias: Tensor) -> tuple[State, Any]:
        """Make one step.

        Args:
            x: The projected input, (K, n, G H), with the biases that it may hold.
            state: Of the step before.
            weight: From the state, (K, H, G H).
            bias: What must be added to the projected state alone, (K, 1, G H).

        Returns:
            The new state, and what `backward` needs; nobody else changes either but by setting rows that have
            ended to zero.
        """

    @abstractmethod
    def backward(self, kept: Any, gradients: State, weight: Tensor, out: tuple[Tensor, Tensor]) -> State:
        """Go one step back.

        Args:
            kept: Of this step's `forward`.
            gradients: Of the new state; may be changed.
            weight: From the state, (K, G H, H), with `slopes` inside.
            out: Where to write the gradients of the projected state and of the projected input, (K, n, G H); the
                same tensor where they do not differ.

        Returns:
            The gradients of the state before.
        """


class Vanilla(Cell):
    """h' = act(x + U h + c).

    Args:
        relu: Whether act is relu; else tanh.
    """

    slopes = (1.0,)

    def __init__(self, *, relu: bool) -> None:
        self._relu = relu
        self.factors = (1.0,) if relu else (2.0,)

    def forward(self, x: Tensor, state: State, weight: Tensor, bias: Tensor) -> tuple[State, Any]:
        """See `Cell`."""
        z = torch.baddbmm(x, state[0], weight)
        h = z.relu_() if self._relu else _spread(z.sigmoid_())
        return (h,), h

    def backward(self, kept: Any, gradients: State, weight: Tensor, out: tuple[Tensor, Tensor]) -> State:
        """See `Cell`."""
        (dh,) = gradients
        if self._relu:
            torch.mul(dh, kept.sign(), out=out[0])
        else:
            torch.addcmul(dh, dh, kept * kept, value=-1.0, out=out[0])
        return (torch.bmm(out[0], weight),)


class LSTM(Cell):
    """i, f, o = s(.), g = tanh(.), c' = f c + i g, h' = o tanh(c')."""

    factors = (1.0, 1.0, 2.0, 1.0)
    slopes = (1.0, 1.0, 4.0, 1.0)  # tanh' is 4 s (1 - s), with s = s(2x)

    def start(self, zeros: Tensor) -> State:
        """See `Cell`."""
        return zeros, zeros

    def forward(self, x: Tensor, state: State, weight: Tensor, bias: Tensor) -> tuple[State, Any]:
        """See `Cell`."""
        h, c = state
        gates = torch.baddbmm(x, h, weight).sigmoid_()
        i, f, s, o = gates.chunk(4, dim=2)
        g = _spread(s)
        new = torch.mul(f, c).addcmul_(i, g)
        bounded = _spread((new * 2.0).sigmoid_())
        return (o * bounded, new), (gates, g, c, bounded)

    def backward(self, kept: Any, gradients: State, weight: Tensor, out: tuple[Tensor, Tensor]) -> State:
        """See `Cell`."""
        dh, dc = gradients
        gates, g, c, bounded = kept
        i, f, _, o = gates.chunk(4, dim=2)
        through = dh * o
        dc = dc + through
        dc.addcmul_(through, bounded * bounded, value=-1.0)
        to_i, to_f, to_g, to_o = out[0].chunk(4, dim=2)
        torch.mul(dc, g, out=to_i)
        torch.mul(dc, c, out=to_f)
        torch.mul(dc, i, out=to_g)
        torch.mul(dh, bounded, out=to_o)
        out[0].mul_(torch.addcmul(gates, gates, gates, value=-1.0))  # s' = s (1 - s)
        return torch.bmm(out[0], weight), dc.mul_(f)


class GRU(Cell):
    """r, z = s(.), n = tanh(x_n + r (U_n h + c_n)), h' = (1 - z) n + z h."""

    factors = (1.0, 1.0, 2.0)
    slopes = (1.0, 1.0, 1.0)

    def forward(self, x: Tensor, state: State, weight: Tensor, bias: Tensor) -> tuple[State, Any]:
        """See `Cell`."""
        (h,) = state
        size = h.shape[2]
        from_state = torch.baddbmm(bias, h, weight)
        gates = (x[..., : 2 * size] + from_state[..., : 2 * size]).sigmoid_()
        r, z = gates.chunk(2, dim=2)
        new = from_state[..., 2 * size :]  # twice what the equation has
        n = _spread(torch.addcmul(x[..., 2 * size :], r, new).sigmoid_())
        return (torch.lerp(n, h, z),), (gates, n, new, h)

    def backward(self, kept: Any, gradients: State, weight: Tensor, out: tuple[Tensor, Tensor]) -> State:
        """See `Cell`."""
        (dh,) = gradients
        gates, n, new, h = kept
        r, z = gates.chunk(2, dim=2)
        size = h.shape[2]
        of_state, of_input = out
        carried = dh * z
        dn = of_input[..., 2 * size :]
        torch.sub(dh, carried, out=dn)
        dn.addcmul_(dn, n * n, value=-1.0)  # tanh' = 1 - tanh^2
        to_r, to_z, to_n = of_state.chunk(3, dim=2)
        torch.mul(dn, new, out=to_r).mul_(0.5)
        torch.mul(dh, h - n, out=to_z)
        torch.mul(dn, r, out=to_n)
        both = of_state[..., : 2 * size]
        both.mul_(torch.addcmul(gates, gates, gates, value=-1.0))  # s' = s (1 - s)
        of_input[..., : 2 * size].copy_(both)
        return (carried.baddbmm_(of_state, weight),)


def _spread(s: Tensor) -> Tensor:
    """Turn s(2x) into tanh(x)."""
    return torch.add(s.new_tensor(-1.0), s, alpha=2.0)


CELLS: Mapping[str, Cell] = {
    "RNN_TANH": Vanilla(relu=False),
    "RNN_RELU": Vanilla(relu=True),
    "LSTM": LSTM(),
    "GRU": GRU(),
}
"""By the mode of torch's layers."""
