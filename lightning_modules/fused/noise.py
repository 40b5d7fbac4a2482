"""What is random inside a stacked network, drawn for each member from its own seed and epoch alone.

So a member's results do not depend on who else is in the array. On the CPU each member draws from a generator of
its own what it would draw if it were trained alone, in the same order: fused or not, it drops the same units. On a
GPU, where a launch for each member would cost more than what it draws, one hash of (seed, epoch, draw, element)
serves all: of the same distribution, but other units than alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from lightning_modules.fused.shapes import by_member
from lightning_modules.seeding import derive_seed, epoch_seed

# Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195 (SplitMix64), as signed numbers.
_GOLDEN, _MIX_1, _MIX_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class Drops(Protocol):
    """A dropout layer of torch's or of our own."""

    p: float


class Noise:
    """The members' sources of randomness in training.

    Args:
        seeds: Of the members' trials.
        hashed: Whether to draw by hash, for GPUs, in place of generators.

    Attributes:
        steps: Length of each member's own longest row, where a batch is padded to the longest of all; None where
            there are no lengths.
    """

    def __init__(self, seeds: Sequence[int], *, hashed: bool) -> None:
        self._seeds = list(seeds)
        self._hashed = hashed
        self.generators = [torch.Generator() for _ in seeds]
        self._keys = torch.zeros(len(seeds), dtype=torch.int64)
        self._epoch = self._num_draws = 0
        self.steps: list[int] | None = None

    def start_epoch(self, epoch: int) -> None:
        """Seed every member's draws; counts from 0."""
        self._epoch = epoch
        for seed, generator in zip(self._seeds, self.generators, strict=True):
            generator.manual_seed(epoch_seed(seed, epoch))
        self._keys = torch.tensor([epoch_seed(seed, epoch) for seed in self._seeds])
        self._num_draws = 0

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some; call it between epochs."""
        self._seeds = [self._seeds[member] for member in members]
        self.generators = [self.generators[member] for member in members]
        self._keys = self._keys[list(members)]

    @property
    def draws_alike(self) -> bool:
        """Whether members draw what they would draw alone."""
        return not self._hashed

    def masks(self, like: Tensor, rates: Sequence[float], *, own_steps: bool) -> Tensor:
        """Draw what to multiply by: 0 with a member's rate, else 1 / (1 - rate).

        Args:
            like: (K, ...), gives shape, type and device.
            rates: Of the members; a member of rate 0 draws nothing.
            own_steps: Whether axis 2 is time, of which a member draws no more than it has.
        """
        if self._hashed:
            keep = torch.tensor([1.0 - rate for rate in rates]).to(like.device, non_blocking=True)
            keep = keep.reshape(-1, *[1] * (like.ndim - 1))
            return ((self.uniform(like.shape, like.device) < keep) / keep).to(like.dtype)
        out = torch.empty(like.shape, dtype=like.dtype)
        for member, (rate, generator) in enumerate(zip(rates, self.generators, strict=True)):
            if rate == 0.0:
                out[member] = 1.0
                continue
            steps = self.steps[member] if own_steps and self.steps is not None else None
            if steps is None or steps == out.shape[2]:
                out[member].bernoulli_(1.0 - rate, generator=generator).div_(1.0 - rate)
            else:
                shape = (out.shape[1], steps, *out.shape[3:])
                drawn = torch.empty(shape, dtype=like.dtype).bernoulli_(1.0 - rate, generator=generator)
                out[member, :, steps:] = 1.0
                out[member, :, :steps] = drawn.div_(1.0 - rate)
        return out

    def uniform(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Hash numbers of [0, 1), 24 bits each, for (K, ...): SplitMix64 of each member's key and place."""
        self._num_draws += 1
        offsets = [derive_seed(self._num_draws, self._epoch)]
        keys = (self._keys + torch.tensor(offsets)).to(device, non_blocking=True)
        places = torch.arange(torch.Size(shape[1:]).numel(), device=device)
        z = keys[:, None] + places * _GOLDEN
        z = (z ^ _shift(z, 30)) * _MIX_1
        z = (z ^ _shift(z, 27)) * _MIX_2
        return (_shift(z ^ _shift(z, 31), 40).float() * 2.0**-24).reshape(tuple(shape))


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shift right as if the numbers had no sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


class StackedDropout(nn.Module):
    """Dropout with a rate of each member.

    Shapes:
        x: (K * B, ...) -> the same

    Args:
        layers: The members' own.
        noise: Where the masks come from.
        shared: Axis of a member's rows, (B, ...), from which on all values share a mask: 2 for whole channels;
            None where each value has its own.
        over_time: Whether axis 1 of the rows is time; with `shared` all steps share a mask.
    """

    def __init__(self, layers: Sequence[Drops], noise: Noise, *, shared: int | None, over_time: bool) -> None:
        super().__init__()
        self.rates = [layer.p for layer in layers]
        self._noise, self._shared, self._over_time = noise, shared, over_time

    def keep_members(self, members: Sequence[int]) -> None:
        """Drop all members but some."""
        self.rates = [self.rates[member] for member in members]

    def forward(self, x: Tensor) -> Tensor:
        """Drop values, in training alone."""
        if not self.training or not any(self.rates):
            return x
        rows = by_member(x, len(self.rates))
        like = rows
        if self._shared is not None:
            like = rows[:, :, :1] if self._over_time else rows[(..., *[slice(1)] * (rows.ndim - 3))]
        own_steps = self._over_time and self._shared is None and rows.ndim == 4
        return (rows * self._noise.masks(like, self.rates, own_steps=own_steps)).flatten(0, 1)
