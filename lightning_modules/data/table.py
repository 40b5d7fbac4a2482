"""A CSV or Parquet file with a target column as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from lightning_modules.data.base import TaskType
from lightning_modules.data.cells import category_text, category_texts, is_category_column, numeric_values
from lightning_modules.data.columns import TabularPreprocessor
from lightning_modules.data.frames import TableFormat, nearest, read_frame
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# Whole numbers with at most so many distinct values are classes unless `task` says otherwise: grades, digits,
# stars and months are; counts and prices go beyond it in any table worth a network.
_FEW_INTEGERS = 20


@dataclass(frozen=True, kw_only=True)
class TableSource(SplitSource):
    """Rows of features and a target; numbers are standardized, text and booleans become categories.

    Attributes:
        path: The file.
        format: `csv` or `parquet`.
        target: Name of the target column.
        test_path: A file with the same columns that is the test split.
        categorical: Columns that are categories, whatever they look like.
        drop: Columns that are not features.
        task: By default classification for text, booleans and few integers, else regression.
    """

    path: Path
    format: TableFormat
    target: str
    test_path: Path | None = None
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    task: TaskType | None = None

    label_field: ClassVar[str | None] = "target"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format not in ("csv", "parquet"):
            raise DataError(f"format is csv or parquet, got {self.format!r}: choose one", field="format")
        for field, other in (("categorical", (self.target,)), ("drop", (self.target, *self.categorical))):
            both = sorted(set(getattr(self, field)) & set(other))
            if both:
                role = "the target" if both[0] == self.target else "categorical"
                raise DataError(f"a column has one role, {both[0]!r} is {role} too: list it once", field=field)

    def _read(self) -> Contents:
        frame = read_frame(Path(self.path), table_format=self.format, text_columns=self.categorical, field="path")
        self._check_columns(frame)
        task = self.task or infer_task(frame[self.target])
        rows = Rows(raw=self._features(frame), target=_read_target(frame[self.target], task, "target"))
        if task == "classification":
            _check_few_classes(rows.target, num_splits=3 if self.test_path is None else 2)
        test = None if self.test_path is None else self._read_test_file(frame, rows.raw, task)
        return Contents(rows=rows, task=task, test=test)

    def _fit(self, train: Rows) -> Preprocessor:
        return TabularPreprocessor.fit(train.raw, categorical=self.categorical)

    def _check_columns(self, frame: pd.DataFrame) -> None:
        for field, names in (
            ("target", (self.target,)),
            ("categorical", self.categorical),
            ("drop", self.drop),
        ):
            for name in names:
                if name not in frame.columns:
                    raise DataError(
                        f"{self.path} must have the column {name!r}, it has not: {nearest(name, frame.columns)}",
                        field=field,
                    )
        if not set(frame.columns) - {self.target, *self.drop}:
            raise DataError(
                f"at least one feature column must be left, {self.path} has "
                f"{', '.join(frame.columns)} of which {self.target} is the target: drop fewer columns",
                field="drop",
            )

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Decide for each column on all rows whether it is a category, so that no split decides it."""
        import pandas as pd

        features = frame.drop(columns=[self.target, *self.drop])
        columns: dict[str, Any] = {}
        for name in features.columns:
            column = features[name]
            if name in self.categorical or is_category_column(column):
                columns[name] = pd.Categorical(category_texts(column))
            else:
                columns[name] = numeric_values(column)
        return pd.DataFrame(columns, index=frame.index)

    def _read_test_file(self, frame: pd.DataFrame, features: pd.DataFrame, task: TaskType) -> Rows:
        from pandas.api import types

        text = [name for name in features.columns if isinstance(features[name].array, _categorical_array())]
        if not types.is_numeric_dtype(frame[self.target].dtype):
            text.append(self.target)
        path = Path(cast(Path, self.test_path))
        test = read_frame(path, table_format=self.format, text_columns=text, field="test_path")
        needed, found = set(frame.columns) - set(self.drop), set(test.columns) - set(self.drop)
        if needed != found:
            parts = [
                f"{what}: {', '.join(sorted(names))}"
                for what, names in (("absent", needed - found), ("not in training", found - needed))
                if names
            ]
            raise DataError(
                f"the test file must have the training file's columns, {path} differs, {'; '.join(parts)}: "
                "rename, add or remove them, or list them under drop",
                field="test_path",
            )
        for name in set(features.columns) - set(text):
            numeric_values(test[name], field="test_path")  # a text among the numbers is told before the search
        return Rows(raw=test[list(features.columns)], target=_read_target(test[self.target], task, "test_path"))


def _categorical_array() -> type:
    import pandas as pd

    return pd.Categorical


def infer_task(column: pd.Series[Any]) -> TaskType:
    """Take text, booleans and few distinct integers for classes, and every other number for a value."""
    from pandas.api import types

    if types.is_bool_dtype(column.dtype) or not types.is_numeric_dtype(column.dtype):
        return "classification"
    few = types.is_integer_dtype(column.dtype) and column.nunique() <= _FEW_INTEGERS
    return "classification" if few else "regression"


def _read_target(column: pd.Series[Any], task: TaskType, field: str) -> Array:
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


def _check_few_classes(labels: Array, *, num_splits: int) -> None:
    """Refuse a target that is no class: with so many distinct values some class cannot be in each split."""
    num_classes = len(set(labels.tolist()))
    if num_classes > _FEW_INTEGERS and num_classes * num_splits > len(labels):
        raise DataError(
            f"a class must stand in each of the {num_splits} splits, {len(labels)} rows have {num_classes} "
            f"distinct targets, such as {labels[0]!r} and {labels[1]!r}: set task: regression if they are "
            "numbers, or choose another target",
            field="target",
        )
