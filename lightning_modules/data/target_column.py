"""A target column as it stands in a file: classes or values, and which of them cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_modules.data.base import TaskType
from lightning_modules.data.cells import category_text
from lightning_modules.data.preprocessor import Array
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# Whole numbers with at most so many distinct values are classes unless `task` says otherwise: grades, digits,
# stars and months are; counts and prices go beyond it in any table worth a network.
_FEW_INTEGERS = 20


def infer_task(column: pd.Series[Any]) -> TaskType:
    """Take text, booleans and few distinct integers for classes, and every other number for a value."""
    from pandas.api import types

    if types.is_bool_dtype(column.dtype) or not types.is_numeric_dtype(column.dtype):
        return "classification"
    few = types.is_integer_dtype(column.dtype) and column.nunique() <= _FEW_INTEGERS
    return "classification" if few else "regression"


def read_target(column: pd.Series[Any], task: TaskType, field: str) -> Array:
    """Give labels (object array of str) or values (float64).

    Raises:
        DataError: A target is missing, not finite, or not a number for a regression.
    """
    missing = column.isna()
    if missing.any():
        raise DataError(
            f"every row needs a target, {int(missing.sum())} rows have none in {column.name!r}, the first is row "
            f"{column.index[int(np.argmax(missing.to_numpy()))]} (empty, NA, NaN and null are none): "
            "fill them in or remove the rows",
            field=field,
        )
    if task == "classification":
        return np.asarray([category_text(value) for value in column.tolist()], dtype=object)
    return _read_values(column, field)


def _read_values(column: pd.Series[Any], field: str) -> Array:
    import pandas as pd

    try:
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    except TypeError:  # dates and nested values
        values = np.full(len(column), np.nan)
    wrong = ~np.isfinite(values)
    if wrong.any():
        position = int(np.argmax(wrong))
        raise DataError(
            f"a regression target is a finite number, got {column.tolist()[position]!r} in row "
            f"{column.index[position]} of {column.name!r}: fix the {int(wrong.sum())} rows that are none, or set "
            "task: classification",
            field=field,
        )
    return values


def check_few_classes(labels: Array, *, num_splits: int, field: str) -> None:
    """Refuse a target that is no class: with so many distinct values some class cannot be in each split.

    Raises:
        DataError: There are more than a few distinct targets, and not enough rows for each of them.
    """
    num_classes = len(set(labels.tolist()))
    if num_classes > _FEW_INTEGERS and num_classes * num_splits > len(labels):
        raise DataError(
            f"a class must stand in each of the {num_splits} splits, {len(labels)} rows have {num_classes} "
            f"distinct targets, such as {labels[0]!r} and {labels[1]!r}: set task: regression if they are "
            "numbers, or choose another target",
            field=field,
        )
