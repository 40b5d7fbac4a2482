"""Targets: from labels and numbers to what a loss gets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_modules.data.preprocessor import Array
from lightning_modules.errors import DataError


def order_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Put the distinct labels in order: whole numbers by value, everything else by alphabet."""
    distinct = set(labels)
    if all(label.lstrip("-").isdecimal() for label in distinct):
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    return tuple(sorted(distinct))


@dataclass(frozen=True, kw_only=True)
class ClassCoder:
    """Class names in the order of a network's outputs."""

    names: tuple[str, ...]

    @classmethod
    def fit(cls, labels: Sequence[str], *, names: Sequence[str] | None = None, field: str | None = None) -> Self:
        """Take the classes of the given rows, or the given names where their order is fixed.

        Args:
            labels: Of all rows outside a test file; the split leaves some of each class for training.
            names: The classes in their order.
            field: The data source's field that an error names.

        Raises:
            DataError: Fewer than two classes.
        """
        names = tuple(names) if names is not None else order_classes(labels)
        if len(set(labels)) < 2:
            raise DataError(
                f"classification needs at least 2 classes, got {', '.join(map(repr, names)) or 'none'}: "
                "check the labels, or add examples of another class",
                field=field,
            )
        return cls(names=names)

    def encode(self, labels: Sequence[str], *, field: str | None = None) -> Array:
        """Give class indices, (N,) int64.

        Raises:
            DataError: A label that training never saw.
        """
        code_of = {name: code for code, name in enumerate(self.names)}
        unseen = [label for label in labels if label not in code_of]
        if unseen:
            shown = ", ".join(map(repr, order_classes(unseen)[:5]))
            raise DataError(
                f"the test split must hold classes of the training split only, got {len(unseen)} rows of "
                f"{shown}; training has {', '.join(map(repr, self.names[:10]))}"
                f"{', ...' if len(self.names) > 10 else ''}: remove the rows, or add such rows to training",
                field=field,
            )
        return np.asarray([code_of[label] for label in labels], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class ValueScaler:
    """Mean and standard deviation of a regression's training target, in the target's own unit."""

    mean: float
    std: float

    @classmethod
    def fit(cls, values: Array) -> Self:
        """Measure training values, (N,) float64.

        Raises:
            DataError: All values are equal, so there is nothing to learn, or their spread is beyond float64.
        """
        with np.errstate(over="ignore"):
            mean, std = float(values.mean()), float(values.std())
        if not math.isfinite(std):
            raise DataError(
                f"a regression target's variance must be finite, the largest is {np.abs(values).max():g}: "
                "give it in a larger unit",
                field="target",
            )
        # A spread below float32's resolution of the values (1.2e-7) cannot be told from none.
        if not std > 1e-7 * max(abs(mean), math.ulp(0.0)):
            raise DataError(
                f"a regression target must vary in the training split, got {mean:g} in all {len(values)} rows: "
                "choose another target",
                field="target",
            )
        return cls(mean=mean, std=std)

    def encode(self, values: Array) -> Array:
        """Standardize, (N,) float32."""
        return ((values - self.mean) / self.std).astype(np.float32)


Coder = ClassCoder | ValueScaler


def count_classes(target: np.ndarray[Any, Any], num_classes: int) -> tuple[int, ...]:
    """Count the examples of each class, zero included."""
    return tuple(int(count) for count in np.bincount(target, minlength=num_classes))
