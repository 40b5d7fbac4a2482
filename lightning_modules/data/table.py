"""A CSV or Parquet file with a target column as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lightning_modules.data.base import TaskType
from lightning_modules.data.cells import category_texts, is_category_column, numeric_values
from lightning_modules.data.columns import TabularPreprocessor
from lightning_modules.data.frames import TableFormat, check_same_columns, nearest, read_frame
from lightning_modules.data.preprocessor import Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.data.target_column import check_few_classes, infer_task, read_target
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


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
        rows = Rows(raw=self._features(frame), target=read_target(frame[self.target], task, "target"))
        if task == "classification":
            check_few_classes(rows.target, num_splits=3 if self.test_path is None else 2, field="target")
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
        check_same_columns(test, frame, ignored=self.drop, path=path)
        for name in set(features.columns) - set(text):
            numeric_values(test[name], field="test_path")  # a text among the numbers is told before the search
        return Rows(raw=test[list(features.columns)], target=read_target(test[self.target], task, "test_path"))


def _categorical_array() -> type:
    import pandas as pd

    return pd.Categorical
