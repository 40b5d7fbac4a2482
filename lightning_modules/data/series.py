"""Series in a CSV file, a line for each step, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lightning_modules.data.base import TaskType
from lightning_modules.data.channels import SeriesPreprocessor
from lightning_modules.data.frames import check_same_columns, nearest, read_frame
from lightning_modules.data.memory import DEFAULT_LIMIT_GIB, check_fits, check_limit
from lightning_modules.data.npz import check_max_length
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.data.target_column import check_few_classes, infer_task, read_target
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class SeriesSource(SplitSource):
    """A table in long form: lines with one `series_id` are the steps of one series, every other column a channel.

    Splits are of series, not of lines. Series keep the order in which they first appear.

    Attributes:
        path: The file.
        series_id: Column that names the series of a line.
        target: Column to predict; the same in all lines of a series.
        time: Column that orders the steps, numbers or ISO 8601 dates; None for the file's order.
        test_path: A file with the same columns that is the test split.
        drop: Columns that are not channels.
        task: By default classification for text, booleans and few integers, else regression.
        max_length: Steps that are kept of a series; None for all.
        memory_limit_gib: Refuse what would be larger, padded.
    """

    path: Path
    series_id: str
    target: str
    time: str | None = None
    test_path: Path | None = None
    drop: tuple[str, ...] = ()
    task: TaskType | None = None
    max_length: int | None = None
    memory_limit_gib: float = DEFAULT_LIMIT_GIB

    label_field: ClassVar[str | None] = "target"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_max_length(self.max_length)
        check_limit(self.memory_limit_gib)
        roles = [("series_id", self.series_id), ("target", self.target), ("time", self.time)]
        roles += [("drop", name) for name in self.drop]
        role_of: dict[str, str] = {}
        for role, name in roles:
            if name is None:
                continue
            if name in role_of:
                raise DataError(
                    f"a column has one role, {name!r} is {role_of[name]} too: list it once", field=role
                )
            role_of[name] = role

    def _read(self) -> Contents:
        frame = read_frame(Path(self.path), table_format="csv", text_columns=(self.series_id,), field="path")
        channels = self._channels(frame)
        task = self.task or infer_task(frame[self.target])
        rows = self._series(frame, channels, task, file_field="path", target_field="target")
        if task == "classification":
            check_few_classes(rows.target, num_splits=3 if self.test_path is None else 2, field="target")
        test = None
        if self.test_path is not None:
            test_frame = self._read_test_file(frame)
            test = self._series(test_frame, channels, task, file_field="test_path", target_field="test_path")
        return Contents(rows=rows, task=task, test=test)

    def _fit(self, train: Rows) -> Preprocessor:
        return SeriesPreprocessor.fit(train.raw, channels=train.channels, max_length=self.max_length, field="path")

    def _channels(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """Check the columns that the source names, and give the others."""
        named = [("series_id", self.series_id), ("target", self.target)]
        named += [("time", self.time)] if self.time is not None else []
        for field, name in [*named, *(("drop", name) for name in self.drop)]:
            if name not in frame.columns:
                raise DataError(
                    f"{self.path} must have the column {name!r}, it has not: {nearest(name, frame.columns)}",
                    field=field,
                )
        used = {name for _, name in named} | set(self.drop)
        channels = tuple(name for name in frame.columns if name not in used)
        if not channels:
            raise DataError(
                f"at least one channel must be left, {self.path} has {', '.join(frame.columns)} and all of them "
                "are named: drop fewer columns",
                field="drop",
            )
        return channels

    def _read_test_file(self, frame: pd.DataFrame) -> pd.DataFrame:
        from pandas.api import types

        text = [self.series_id]
        if not types.is_numeric_dtype(frame[self.target].dtype):
            text.append(self.target)
        path = Path(str(self.test_path))
        test = read_frame(path, table_format="csv", text_columns=text, field="test_path")
        check_same_columns(test, frame, ignored=self.drop, path=path)
        return test

    def _series(
        self, frame: pd.DataFrame, channels: tuple[str, ...], task: TaskType, *, file_field: str, target_field: str
    ) -> Rows:
        """Gather the lines of each series; errors name the file's field or the target's."""
        codes, names = _series_codes(frame[self.series_id], file_field)
        targets = read_target(frame[self.target], task, target_field)
        values = np.column_stack([_channel_values(frame[name], file_field) for name in channels])
        lengths = np.bincount(codes)
        longest = int(lengths.max()) if self.max_length is None else min(int(lengths.max()), self.max_length)
        check_fits(
            (len(names), longest, len(channels)),
            limit_gib=self.memory_limit_gib,
            what="series",
            remedy="set max_length",
        )
        order = np.argsort(codes, kind="stable")
        if self.time is not None:
            times = _times(frame[self.time], file_field)
            order = np.lexsort((times, codes))
            _check_times_differ(
                codes[order], times[order], frame.iloc[order], (self.series_id, self.time), file_field
            )
        first = np.searchsorted(codes[order], np.arange(len(names)))
        of_series = targets[order][first]
        _check_one_target(of_series[codes], targets, frame[self.series_id], target_field)
        return Rows(raw=np.split(values[order], first[1:]), target=of_series, channels=channels)


def _series_codes(column: pd.Series[Any], field: str) -> tuple[Array, Array]:
    """Give each line the number of its series, (N,) int64, and the series' names in the order of appearance."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"every line belongs to a series, row {column.index[int(np.argmax(missing))]} has none in "
            f"{column.name!r}: fill it in or remove the line",
            field=field,
        )
    codes, names = column.factorize()
    return codes, np.asarray(names, dtype=object)


def _channel_values(column: pd.Series[Any], field: str) -> Array:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"every value of a series is a finite number, column {column.name!r} has {column.tolist()[row]!r} in "
            f"row {column.index[row]}: fill it in, or list the column under drop",
            field=field,
        )
    return values


def _times(column: pd.Series[Any], field: str) -> Array:
    """Give numbers that order the steps, (N,)."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    dates = pd.to_datetime(column.astype(str), format="ISO8601", utc=True, errors="coerce")
    if dates.isna().sum() < numbers.isna().sum():  # the reading that understands more
        times, wrong = dates.astype("int64").to_numpy(), dates.isna().to_numpy()
    else:
        times = numbers.to_numpy()
        wrong = ~np.isfinite(times.astype(np.float64))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"a time is a number or a date such as 2026-01-31T12:00, column {column.name!r} has "
            f"{column.tolist()[row]!r} in row {column.index[row]}: correct it, or leave time out "
            "to take the file's order",
            field=field,
        )
    return times


def _check_times_differ(
    codes: Array, times: Array, frame: pd.DataFrame, columns: tuple[str, str], field: str
) -> None:
    again = (codes[1:] == codes[:-1]) & (times[1:] == times[:-1])
    if again.any():
        row = frame.iloc[int(np.argmax(again)) + 1]
        series_id, time = (row[column] for column in columns)
        raise DataError(
            f"the steps of a series have times that differ, series {series_id!r} has {time} twice, again in row "
            f"{row.name}: correct it, or remove the line",
            field=field,
        )


def _check_one_target(expected: Array, targets: Array, ids: pd.Series[Any], field: str) -> None:
    differs = expected != targets
    if differs.any():
        row = int(np.argmax(differs))
        raise DataError(
            f"a series has one target in all of its lines, series {ids.iloc[row]!r} has {expected[row]} and in "
            f"row {ids.index[row]} {targets[row]}: write the same one",
            field=field,
        )
