"""What is random inside a stacked network, drawn for each member from its own seed and epoch alone.

So a member's results do not depend on who else is in the array. What is dropped is not what would be dropped in
training alone, but as much of it: torch's own draws for one member cost as much as all else of a small network's
step (8,192 values: 50 microseconds, here 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from lightning_modules.fused.shapes import by_member
from lightning_modules.seeding import derive_seed, epoch_seed

_WORD = 64  # bits
_MASK_BITS = 16  # of randomness for each value of a mask: a rate is kept to 1 in 65,536
_LEVELS = 2**_MASK_BITS

# Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195 (SplitMix64), as signed numbers.
_GOLDEN, _MIX_1, _MIX_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class Drops(Protocol):
    """A dropout layer of torch's or of our own."""

    p: float


class Noise:
    """The members' sources of randomness in training.

    On the CPU each member has a generator of its own. On a GPU, where a launch for each member would cost more
    than what it draws, one hash of (seed, epoch, number of the draw, place) serves all.

    Args:
        seeds: Of the members' trials.
        hashed: Whether to draw by hash, for GPUs, in place of generators.

    Attributes:
        steps: Steps that each member's rows would have without the others', where rows have lengths: a batch is
            padded to the longest of all, and a member draws for its own.
    """

    def __init__(self, seeds: Sequence[int], *, hashed: bool) -> None:
        self._seeds = list(seeds)
        self._hashed = hashed
        self._generators = [torch.Generator() for _ in seeds]
        self._keys = torch.zeros(len(seeds), dtype=torch.int64)
        self._epoch = self._num_draws = 0
        self.steps: list[int] | None = None

    @property
    def num_members(self) -> int:
        """Members that still train."""
        return len(self._seeds)

    def start_epoch(self, epoch: int) -> None:
        """Seed every member's draws; counts from 0."""
        self._epoch, self._num_draws = epoch, 0
        seeds = [epoch_seed(seed, epoch) for seed in self._seeds]
        self._keys = torch.tensor(seeds)
        for seed, generator in zip(seeds, self._generators, strict=True):
            generator.manual_seed(seed)

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some; call it between epochs."""
        self._seeds = [self._seeds[member] for member in members]
        self._generators = [self._generators[member] for member in members]

    def masks(self, like: Tensor, rates: Sequence[float], *, own_steps: bool) -> Tensor:
        """Draw what to multiply by: 0 with a member's rate, else 1 / (1 - rate).

        Args:
            like: (K, ...), gives shape, type and device.
            rates: Of the members.
            own_steps: Whether axis 2 is time, of which a member draws no more than it has.
        """
        column = [1] * (like.ndim - 1)
        scales = torch.tensor([1.0 / (1.0 - rate) for rate in rates], dtype=like.dtype).reshape(-1, *column)
        if self._hashed:
            kept = torch.tensor([1.0 - rate for rate in rates]).reshape(-1, *column).to(like.device)
            return (self._hash(like) < kept).to(like.dtype).mul_(scales.to(like.device))
        # Kept is what lies below a limit. Both are whole numbers, so that their difference, cut to 0..1, says it:
        # five times as fast as a comparison.
        limits = torch.tensor(
            [round((1.0 - rate) * _LEVELS) - _LEVELS // 2 for rate in rates], dtype=torch.float32
        )
        drawn = self._bits(like, rates, own_steps=own_steps).float()
        return drawn.neg_().add_(limits.reshape(-1, *column)).clamp_(0.0, 1.0).to(like.dtype).mul_(scales)

    def uniform(self, like: Tensor) -> Tensor:
        """Draw numbers of [0, 1), of the shape, type and device of (K, ...)."""
        if self._hashed:
            return self._hash(like).to(like.dtype)
        drawn = torch.empty_like(like)
        for part, generator in zip(drawn, self._generators, strict=True):
            part.uniform_(generator=generator)
        return drawn

    def _bits(self, like: Tensor, rates: Sequence[float], *, own_steps: bool) -> Tensor:
        """Draw 16 bits for each value, as int16; a member of rate 0 draws nothing, whatever its bits."""
        steps = self.steps if own_steps else None
        size = like[0].numel()
        words = torch.empty((len(rates), -(-size * _MASK_BITS // _WORD)), dtype=torch.int64)
        bits = torch.unflatten(words.view(torch.int16)[:, :size], 1, like.shape[1:])
        for member, (rate, generator) in enumerate(zip(rates, self._generators, strict=True)):
            if rate == 0.0:
                continue
            if steps is None or steps[member] == like.shape[2]:
                words[member].random_(-(2**63), None, generator=generator)
                continue
            own = like[0, :, : steps[member]]
            drawn = torch.empty(-(-own.numel() * _MASK_BITS // _WORD), dtype=torch.int64)
            drawn.random_(-(2**63), None, generator=generator)
            bits[member, :, : steps[member]] = drawn.view(torch.int16)[: own.numel()].reshape(own.shape)
        return bits

    def _hash(self, like: Tensor) -> Tensor:
        """Hash numbers of [0, 1), 24 bits each: SplitMix64 of each member's key and place."""
        self._num_draws += 1
        keys = (self._keys + derive_seed(self._num_draws, self._epoch)).to(like.device, non_blocking=True)
        z = keys[:, None] + torch.arange(like[0].numel(), device=like.device) * _GOLDEN
        z = (z ^ _shift(z, 30)) * _MIX_1
        z = (z ^ _shift(z, 27)) * _MIX_2
        return (_shift(z ^ _shift(z, 31), 40).float() * 2.0**-24).reshape(like.shape)


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
            like = rows[:, :, :1] if self._over_time else rows[:, :, :, *[slice(1)] * (rows.ndim - 3)]
        own_steps = self._over_time and self._shared is None and rows.ndim == 4
        return (rows * self._noise.masks(like, self.rates, own_steps=own_steps)).flatten(0, 1)
