"""A search space as arrays: a point is a row of units, one in [0, 1] for each parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from search_spaces import Choice, Int, Parameter, SearchSpace, Value

Array = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class Cube:
    """Turns params into rows and back, and rows into the columns that a model is fitted to.

    Args:
        space: The space: P parameters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._parameters = tuple(space)
        self._defaults = self.row(space.defaults())
        names = space.names
        self._conditions = [
            (names.index(c.parameter), names.index(c.when), [space[c.when].to_unit(value) for value in c.values])
            for c in space.conditions
        ]
        widths = [_width(parameter) for parameter in self._parameters]
        self.num_columns = sum(widths)
        self.unordered: Flags = np.array([width > 1 for width in widths])
        # Of each parameter. An unordered choice's first column stands for it where only scales matter.
        self.first_columns = np.cumsum([0, *widths[:-1]])
        choices = [(i, len(p.choices)) for i, p in enumerate(self._parameters) if isinstance(p, Choice)]
        self._unordered = [(index, count) for index, count in choices if self.unordered[index]]
        self._choices = np.array([index for index, _ in choices], dtype=int)
        self._counts = np.array([count for _, count in choices])
        self._wholes = [(i, p) for i, p in enumerate(self._parameters) if isinstance(p, Int)]

    def row(self, params: Mapping[str, Value]) -> Array:
        """Place params: (P,)."""
        return np.array([p.to_unit(params[p.name]) for p in self._parameters])

    def params(self, row: Array) -> dict[str, Value]:
        """Read a row."""
        units = zip(self._parameters, row.tolist(), strict=True)
        return self._space.complete({parameter.name: parameter.from_unit(unit) for parameter, unit in units})

    def snap(self, rows: Array) -> Array:
        """Move rows to values that exist, and what is inactive to its default: (N, P) -> (N, P)."""
        snapped = np.clip(rows, 0.0, 1.0)
        counts = self._counts
        chosen = np.minimum(np.floor(snapped[:, self._choices] * counts), counts - 1)
        snapped[:, self._choices] = (chosen + 0.5) / counts
        for index, parameter in self._wholes:
            snapped[:, index] = _snap_whole(parameter, snapped[:, index])
        given = snapped.copy()
        for index, when, units in self._conditions:
            inactive = ~np.isclose(given[:, when, None], units).any(axis=1)
            snapped[inactive, index] = self._defaults[index]
        return snapped

    def columns(self, rows: Array) -> Array:
        """Give a scale one column and an unordered choice one for each of its values: (N, P) -> (N, C)."""
        columns = np.zeros((len(rows), self.num_columns))
        scales = ~self.unordered
        columns[:, self.first_columns[scales]] = rows[:, scales]
        for index, count in self._unordered:
            chosen = np.minimum((rows[:, index] * count).astype(int), count - 1)
            columns[np.arange(len(rows)), self.first_columns[index] + chosen] = 1.0
        return columns

    def inputs(self, rows: Array, epochs: int | Array, *, full: int) -> Array:
        """Lay the epoch beside the columns, 0 the first, 1 full length, in equal ratios: (N, P) -> (N, C + 1).

        Args:
            rows: (N, P).
            epochs: Of all rows, or of each: (N,).
            full: Full length, in epochs.
        """
        lengths = np.log(np.maximum(1, epochs)) / math.log(full) if full > 1 else 1.0
        return np.column_stack([self.columns(rows), np.broadcast_to(lengths, len(rows))])


def _width(parameter: Parameter) -> int:
    return len(parameter.choices) if isinstance(parameter, Choice) and not parameter.ordered else 1


def _snap_whole(parameter: Int, units: Array) -> Array:
    """Do what `Int.from_unit` and `to_unit` do, to a column."""
    low, high = parameter.low - 0.5, parameter.high + 0.5
    values = low * (high / low) ** units if parameter.log else low + units * (high - low)
    whole = np.clip(np.round(values), parameter.low, parameter.high)
    return np.log(whole / low) / np.log(high / low) if parameter.log else (whole - low) / (high - low)
