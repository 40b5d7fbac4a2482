"""Tables: numeric columns, categories, and what is missing in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lightning_modules.data.base import Kind
from lightning_modules.data.cells import (
    category_texts,
    check_not_an_identifier,
    is_category_column,
    numeric_values,
)
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class NumericColumn:
    """A column of numbers: mean and standard deviation in training (0: constant), and whether any were missing."""

    name: str
    mean: float
    std: float
    has_missing: bool

    @classmethod
    def fit(cls, name: str, values: Array) -> Self:
        """Measure training values, (N,) float64, NaN where missing."""
        present = values[~np.isnan(values)]
        if not len(present):
            raise _no_value(name)
        with np.errstate(over="ignore"):
            mean, std = float(present.mean()), float(present.std())
        if not np.isfinite(std):
            raise DataError(
                f"a column's variance must be finite, the largest of {name!r} is {np.abs(present).max():g}: "
                "give it in a larger unit, or list it under drop",
                field="drop",
            )
        # Rounding leaves a constant column a spread of a few units in the last place: it is none.
        if std <= 1e-12 * abs(mean):
            std = 0.0
        return cls(name=name, mean=mean, std=std, has_missing=len(present) < len(values))

    def standardize(self, values: Array) -> Array:
        """Give (values - mean) / std, and 0, the training mean, where a value is missing or all are the same."""
        if self.std == 0.0:
            return np.zeros(len(values))
        return np.nan_to_num((values - self.mean) / self.std, nan=0.0)


@dataclass(frozen=True, kw_only=True)
class CategoryColumn:
    """A column of categories; code 0 is a missing value or one that training never saw."""

    name: str
    values: tuple[str, ...]

    def encode(self, texts: Sequence[str | None]) -> Array:
        """Give codes, (N,) int64, from 0 to len(values)."""
        code_of = {value: code for code, value in enumerate(self.values, start=1)}
        return np.asarray([code_of.get(text, 0) if text is not None else 0 for text in texts], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class TabularPreprocessor(Preprocessor):
    """Standardizes numbers and codes categories.

    Attributes:
        columns: All feature columns in the order of the training table.
        numeric: Those with numbers.
        categories: Those with categories.
    """

    kind: ClassVar[Kind] = "tabular"
    columns: tuple[str, ...]
    numeric: tuple[NumericColumn, ...]
    categories: tuple[CategoryColumn, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame, *, categorical: Sequence[str] = ()) -> Self:
        """Measure the training rows; text and boolean columns are categories, and those named so.

        Raises:
            DataError: A column cannot be a feature.
        """
        numeric, categories = [], []
        for name in frame.columns:
            if name in categorical or is_category_column(frame[name]):
                texts = category_texts(frame[name])
                if name not in categorical:
                    check_not_an_identifier(name, texts)
                known = sorted({text for text in texts if text is not None})
                if not known:
                    raise _no_value(name)
                categories.append(CategoryColumn(name=name, values=tuple(known)))
            else:
                numeric.append(NumericColumn.fit(name, numeric_values(frame[name])))
        return cls(columns=tuple(frame.columns), numeric=tuple(numeric), categories=tuple(categories))

    def transform(self, raw: Any) -> dict[str, Array]:
        """Turn rows into numbers and codes.

        Args:
            raw: A data frame or a list of mappings with the training table's feature columns (others are
                ignored), or N rows of values in the order of `columns`.

        Returns:
            `numeric`: (N, F) float32, the numeric columns and behind them a 0/1 column for each that had
            missing values in training; `categories`: (N, K) int64, if there are any.

        Raises:
            DataError: A column is absent, or a numeric column holds text or infinity.
        """
        frame = self._as_frame(raw)
        values = [numeric_values(frame[column.name]) for column in self.numeric]
        features = [column.standardize(v) for column, v in zip(self.numeric, values, strict=True)]
        features += [np.isnan(v) for column, v in zip(self.numeric, values, strict=True) if column.has_missing]
        inputs: dict[str, Array] = {"numeric": _as_matrix(features, len(frame), np.float32)}
        if self.categories:
            codes = [column.encode(category_texts(frame[column.name])) for column in self.categories]
            inputs["categories"] = _as_matrix(codes, len(frame), np.int64)
        return inputs

    def _as_frame(self, raw: Any) -> pd.DataFrame:
        import pandas as pd

        frame = raw if isinstance(raw, pd.DataFrame) else self._frame_of_rows(list(raw))
        absent = [name for name in self.columns if name not in frame.columns]
        if absent:
            raise DataError(
                f"rows must have the columns {', '.join(self.columns)}; absent: {', '.join(absent)}: "
                "give them, with None for a missing value",
                field="columns",
            )
        return frame

    def _frame_of_rows(self, rows: list[Any]) -> pd.DataFrame:
        import pandas as pd

        index = range(1, len(rows) + 1)  # errors count rows from 1
        if rows and all(isinstance(row, Mapping) for row in rows):
            return pd.DataFrame(rows, index=index, dtype=object)
        for number, row in enumerate(rows, start=1):
            length = np.shape(row)[0] if np.ndim(row) == 1 else None
            if length != len(self.columns):
                raise DataError(
                    f"a row has a value for each of {len(self.columns)} columns "
                    f"({', '.join(self.columns[:10])}{', ...' if len(self.columns) > 10 else ''}), got "
                    f"{'no list' if length is None else length} in row {number}: give rows of that length",
                    field="columns",
                )
        values = [list(row) for row in rows]
        return pd.DataFrame(values, columns=list(self.columns), index=index, dtype=object)

    def sizes(self) -> dict[str, Any]:
        """Give `num_features` and `cardinalities`."""
        return {
            "num_features": len(self.numeric) + sum(column.has_missing for column in self.numeric),
            "cardinalities": tuple(len(column.values) + 1 for column in self.categories),
        }

    def to_dict(self) -> dict[str, Any]:
        """Give kind, the columns in order, and what each was fitted to."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "numeric": [
                {"name": c.name, "mean": c.mean, "std": c.std, "has_missing": c.has_missing} for c in self.numeric
            ],
            "categories": [{"name": c.name, "values": list(c.values)} for c in self.categories],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict()`."""
        return cls(
            columns=tuple(document["columns"]),
            numeric=tuple(NumericColumn(**column) for column in document["numeric"]),
            categories=tuple(
                CategoryColumn(name=column["name"], values=tuple(column["values"]))
                for column in document["categories"]
            ),
        )


def _no_value(name: str) -> DataError:
    return DataError(
        f"a column needs at least one value in the training split, {name!r} has none: list it under drop",
        field="drop",
    )


def _as_matrix(columns: list[Array], num_rows: int, dtype: type) -> Array:
    matrix: Array = np.empty((num_rows, len(columns)), dtype=dtype)
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix
