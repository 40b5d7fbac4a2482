"""What is random inside a stacked network, drawn for each member from its own seed and epoch alone.

So a member's results do not depend on who else is in the array. What is dropped is not what would be dropped in
training alone, but as much of it: torch's own draws for one member cost as much as all else of a small network's
step (8,192 values: 50 microseconds, here 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.fused.shapes import by_member
from lightning_modules.seeding import derive_seed, epoch_seed

_WORD = 64  # bits
_MASK_BITS = 16  # of randomness for each value of a mask: a rate is kept to 1 in 65,536
_LEVELS = 2**_MASK_BITS
_WORDS = 2**13  # drawn ahead for a member: to call its generator takes as long as hundreds of words

# Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195 (SplitMix64), as signed numbers.
_GOLDEN, _MIX_1, _MIX_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


class Drops(Protocol):
    """A dropout layer of torch's or of our own."""

    p: float


class Noise:
    """The members' sources of randomness in training.

    On the CPU each member has a generator of its own, the fastest of numpy. On a GPU, where a launch for each
    member would cost more than what it draws, one hash of (seed, epoch, number of the draw, place) serves all.

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
        self._generators: list[np.random.Generator] = []
        self._keys = torch.zeros(len(seeds), dtype=torch.int64)
        self._epoch = self._num_draws = 0
        self._words = torch.empty((len(seeds), 0), dtype=torch.int64)  # drawn ahead
        self._place = 0  # in them
        self.steps: list[int] | None = None

    @property
    def num_members(self) -> int:
        """Members that still train."""
        return len(self._seeds)

    def start_epoch(self, epoch: int) -> None:
        """Seed every member's draws; counts from 0."""
        self._epoch, self._num_draws = epoch, 0
        seeds = [epoch_seed(seed, epoch) for seed in self._seeds]
        if self._hashed:
            self._keys = torch.tensor(seeds)
        else:
            self._generators = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]
            self._words = self._words[:, :0]

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some; call it between epochs."""
        self._seeds = [self._seeds[member] for member in members]

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
        drawn = self._own_bits(like, rates) if own_steps and self.steps is not None else self._bits(like)
        below = torch.sub(limits.reshape(-1, *column), drawn.float())
        return below.clamp_(0.0, 1.0).to(like.dtype).mul_(scales)

    def uniform(self, like: Tensor) -> Tensor:
        """Draw numbers of [0, 1), of the shape, type and device of (K, ...)."""
        if self._hashed:
            return self._hash(like).to(like.dtype)
        dtype = np.float64 if like.dtype == torch.float64 else np.float32
        drawn = [generator.random(like.shape[1:], dtype=dtype) for generator in self._generators]
        return torch.from_numpy(np.stack(drawn)).to(like.dtype)

    def _bits(self, like: Tensor) -> Tensor:
        """Give 16 bits for each value, as int16."""
        num_words = _num_words(like[0].numel())
        if self._place + num_words > self._words.shape[1]:
            drawn = [_draw(generator, max(_WORDS, num_words)) for generator in self._generators]
            self._words = torch.stack(drawn)
            self._place = 0
        words = self._words[:, self._place : self._place + num_words]
        self._place += num_words
        return torch.unflatten(words.view(torch.int16)[:, : like[0].numel()], 1, like.shape[1:])

    def _own_bits(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Draw 16 bits for each value, as int16, of each member's own steps; nothing for a rate of 0."""
        assert self.steps is not None
        bits = torch.zeros(like.shape, dtype=torch.int16)
        for part, rate, steps, generator in zip(bits, rates, self.steps, self._generators, strict=True):
            if rate:
                own = part[:, :steps]
                words = _draw(generator, _num_words(own.numel()))
                own.copy_(words.view(torch.int16)[: own.numel()].reshape(own.shape))
        return bits

    def _hash(self, like: Tensor) -> Tensor:
        """Hash numbers of [0, 1), 24 bits each: SplitMix64 of each member's key and place."""
        self._num_draws += 1
        keys = (self._keys + derive_seed(self._num_draws, self._epoch)).to(like.device, non_blocking=True)
        z = keys[:, None] + torch.arange(like[0].numel(), device=like.device) * _GOLDEN
        z = (z ^ _shift(z, 30)) * _MIX_1
        z = (z ^ _shift(z, 27)) * _MIX_2
        return (_shift(z ^ _shift(z, 31), 40).float() * 2.0**-24).reshape(like.shape)


def _draw(generator: np.random.Generator, num_words: int) -> Tensor:
    return torch.from_numpy(generator.bit_generator.random_raw(num_words).view(np.int64))


def _num_words(num_values: int) -> int:
    return -(-num_values * _MASK_BITS // _WORD)


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
