"""Cells of a table: what a column's values are, and which of them cannot be used.

Rows are counted from 1 in the order of the file, the header not among them: the index of the frame holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_modules.data.preprocessor import Array
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# Fewer rows than this may all differ by chance; more that all differ are names or numbers of rows.
_IDENTIFIER_MIN_ROWS = 50


def is_category_column(column: pd.Series[Any]) -> bool:
    """Say whether a column holds categories (text, booleans) rather than numbers.

    Raises:
        DataError: The column is neither: dates, nested values, or numbers with text among them.
    """
    from pandas.api import types

    dtype = column.dtype
    if types.is_bool_dtype(dtype) or isinstance(dtype, _categorical_dtype()):
        return True
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return False
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        return _holds_categories(column)
    raise DataError(
        f"a feature is a number, a text or a boolean, column {column.name!r} is {dtype}: "
        "list it under drop, or turn it into numbers",
        field="drop",
    )


def _categorical_dtype() -> type:
    import pandas as pd

    return pd.CategoricalDtype


def _holds_categories(column: pd.Series[Any]) -> bool:
    """Decide for a column of Python values; one text among numbers is a mistake, not a category."""
    import pandas as pd

    present = column.dropna()
    odd = present.map(lambda value: not isinstance(value, str | bool | int | float | np.number | np.bool_))
    if odd.any():
        value = present[odd].iloc[0]
        raise DataError(
            f"a feature is a number, a text or a boolean, column {column.name!r} holds "
            f"{type(value).__name__} {value!r}: list it under drop, or turn it into numbers",
            field="drop",
        )
    is_text = present.map(lambda value: isinstance(value, str | bool | np.bool_))
    numbers = pd.to_numeric(present.where(~present.map(lambda v: isinstance(v, bool))), errors="coerce")
    not_a_number = present[numbers.isna().to_numpy()]
    if len(present) and 2 * len(not_a_number) < len(present) and len(not_a_number):
        refuse_text_among_numbers(column, not_a_number)
    return bool(is_text.any()) or not len(present)


def refuse_text_among_numbers(column: pd.Series[Any], texts: pd.Series[Any]) -> None:
    """Raise for a column of numbers in which some rows hold text."""
    first = texts.index[0]
    others = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
    raise DataError(
        f"column {column.name!r} must hold numbers in every row or in none, {len(column) - len(texts)} of "
        f"{len(column)} are numbers or empty but row {first} is {texts.iloc[0]!r}{others}: fix the rows, or list "
        f"{column.name!r} under categorical or drop",
        field="categorical",
    )


def numeric_values(column: pd.Series[Any], *, field: str = "columns") -> Array:
    """Give a column as (N,) float64, NaN where a value is missing.

    Args:
        column: Numbers, in a file or given to a bundle.
        field: The one that an error names.

    Raises:
        DataError: A text or an infinite value; names column, row and value.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        given = column.mask(column == "")
        values = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        texts = column[np.isnan(values) & given.notna().to_numpy()]
        if len(texts):
            raise DataError(
                f"column {column.name!r} must hold numbers as in training, got {texts.iloc[0]!r} in row "
                f"{texts.index[0]}: fix the row, or leave the value empty",
                field=field,
            )
    infinite = np.isinf(values)
    if infinite.any():
        position = int(np.argmax(infinite))
        raise DataError(
            f"column {column.name!r} must hold finite numbers, got {values[position]} in row "
            f"{column.index[position]}: fix the row, or leave the value empty",
            field=field,
        )
    return values


def category_texts(column: pd.Series[Any]) -> list[str | None]:
    """Give each value's text, None where it is missing.

    One value has one text whatever the file's format made of it: 3, 3.0 and "3" are "3", True and "true" are
    "True".
    """
    missing = column.isna().to_numpy()
    return [
        None if absent or value == "" else category_text(value)
        for value, absent in zip(column.tolist(), missing, strict=True)
    ]


def category_text(value: object) -> str:
    """Give the text that stands for a value."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    return text.capitalize() if text.lower() in ("true", "false") else text


def check_not_an_identifier(name: str, texts: list[str | None]) -> None:
    """Refuse a text column whose values all differ: no row to come has a known one.

    Raises:
        DataError: Every training row has a value of its own.
    """
    if len(texts) >= _IDENTIFIER_MIN_ROWS and len(set(texts)) == len(texts):
        raise DataError(
            f"a category must repeat in the training split, column {name!r} has {len(texts)} values in "
            f"{len(texts)} rows, such as {texts[0]!r}: list it under drop, or under categorical to keep it",
            field="drop",
        )
