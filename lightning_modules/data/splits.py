"""Seeded, stratified splits that stay the same for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_modules.errors import DataError

IndexArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class SplitIndices:
    """Row numbers of each split, increasing; together they are every row once."""

    train: IndexArray
    validation: IndexArray
    test: IndexArray


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Check that each split gets a share of the rows.

    Raises:
        DataError: A share is not between 0 and 1, or nothing is left for training.
    """
    for name, value in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 < value < 1:
            raise DataError(f"0 < {name} < 1 must hold, got {value}: give a share such as 0.15", field=name)
    if validation_fraction + test_fraction >= 1:
        raise DataError(
            "validation_fraction + test_fraction < 1 must hold, got "
            f"{validation_fraction} + {test_fraction}: lower one of them",
            field="validation_fraction",
        )


def split_rows(
    num_rows: int,
    *,
    labels: Sequence[str] | None,
    validation_fraction: float,
    test_fraction: float | None,
    seed: int,
    label_field: str | None = None,
) -> SplitIndices:
    """Split rows by the seed alone, with every class in every split.

    Splits have the rounded share of all rows, and each class its share of them up to one row. The order
    comes from PCG64's raw 64-bit numbers and not from a distribution: numpy keeps the former for ever (NEP 19).

    Args:
        num_rows: Rows there are.
        labels: A class per row, or None for regression (no strata).
        validation_fraction: Share of all rows, between 0 and 1.
        test_fraction: Share of all rows, or None where the test split is a file of its own.
        seed: At least 0.
        label_field: The data source's field that an error about a class names.

    Raises:
        DataError: A class, or a regression's rows, cannot be in every split.
    """
    fractions = [validation_fraction] if test_fraction is None else [test_fraction, validation_fraction]
    num_splits = len(fractions) + 1
    strata = _strata(num_rows, labels)
    _check_every_split_gets_one(strata, num_splits, label_field)
    keys = np.random.PCG64(seed).random_raw(num_rows)
    queues = [rows[np.argsort(keys[rows], kind="stable")] for rows in strata.values()]
    counts = np.asarray([len(queue) for queue in queues])
    left, parts = counts.copy(), []
    for position, fraction in enumerate(fractions):
        num_later = num_splits - position - 1  # each of them still needs one row of each class
        takes = _apportion(counts, fraction, num_rows=num_rows, upper=left - num_later)
        parts.append(np.sort(np.concatenate([q[:take] for q, take in zip(queues, takes, strict=True)])))
        queues = [queue[take:] for queue, take in zip(queues, takes, strict=True)]
        left = left - takes
    test = np.empty(0, dtype=np.int64) if test_fraction is None else parts[0]
    return SplitIndices(train=np.sort(np.concatenate(queues)), validation=parts[-1], test=test)


def _strata(num_rows: int, labels: Sequence[str] | None) -> dict[str, IndexArray]:
    if labels is None:
        return {"": np.arange(num_rows)}
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    return {label: np.asarray(rows_of[label]) for label in sorted(rows_of)}


def _check_every_split_gets_one(strata: dict[str, IndexArray], num_splits: int, label_field: str | None) -> None:
    for label, rows in strata.items():
        if len(rows) >= num_splits:
            continue
        rule = f"one for each of the {num_splits} splits"
        if len(strata) == 1 and not label:
            raise DataError(f"at least {num_splits} rows are needed, {rule}, got {len(rows)}: add rows")
        raise DataError(
            f"every class needs at least {num_splits} examples, {rule}, got {len(rows)} of class {label!r}: "
            "add examples of it, or remove or merge the class",
            field=label_field,
        )


def _apportion(counts: IndexArray, fraction: float, *, num_rows: int, upper: IndexArray) -> IndexArray:
    """Share a split's rows among the classes by largest remainder, each at least 1 and at most `upper`."""
    quotas = counts * fraction
    takes: IndexArray = np.clip(np.floor(quotas).astype(np.int64), 1, upper)
    total = int(np.clip(np.floor(num_rows * fraction + 0.5), len(counts), upper.sum()))
    while (missing := total - int(takes.sum())) != 0:
        step = 1 if missing > 0 else -1
        movable = takes < upper if step > 0 else takes > 1
        gain = np.where(movable, step * (quotas - takes), -np.inf)
        takes[int(np.argmax(gain))] += step  # the first of equals: the alphabet decides
    return takes
