"""Series in a NumPy file as data."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.lib.npyio import NpzFile

from lightning_modules.data.base import TaskType
from lightning_modules.data.channels import SeriesPreprocessor
from lightning_modules.data.files import check_file
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.data.target_column import check_few_classes, infer_task, read_target
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class NpzSource(SplitSource):
    """A `.npz` file with series `x` (N, T, C), targets `y` (N,) and, where they differ, `lengths` (N,).

    What stands behind a series' length is padding and never read.

    Attributes:
        path: The file.
        test_path: A file of the same kind that is the test split.
        task: By default classification for text, booleans and few integers, else regression.
        max_length: Steps that are kept of a series; None for all.
    """

    path: Path
    test_path: Path | None = None
    task: TaskType | None = None
    max_length: int | None = None

    label_field: ClassVar[str | None] = "path"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_max_length(self.max_length)

    def _read(self) -> Contents:
        series, y = _read_series(Path(self.path), "path")
        num_channels = series[0].shape[1]
        task = self.task or infer_task(_column(y))
        channels = tuple(str(channel) for channel in range(num_channels))
        rows = Rows(raw=series, target=read_target(_column(y), task, "path"), channels=channels)
        if task == "classification":
            check_few_classes(rows.target, num_splits=3 if self.test_path is None else 2, field="path")
        test = None
        if self.test_path is not None:
            test_series, test_y = _read_series(Path(self.test_path), "test_path")
            if test_series[0].shape[1] != num_channels:
                raise DataError(
                    f"training and test series must have the same channels, got {num_channels} and "
                    f"{test_series[0].shape[1]}: write them alike",
                    field="test_path",
                )
            test = Rows(raw=test_series, target=read_target(_column(test_y), task, "test_path"))
        return Contents(rows=rows, test=test, task=task)

    def _fit(self, train: Rows) -> Preprocessor:
        return SeriesPreprocessor.fit(train.raw, channels=train.channels, max_length=self.max_length, field="path")


def check_max_length(max_length: int | None) -> None:
    """Check how many steps are kept.

    Raises:
        DataError: None is kept.
    """
    if max_length is not None and max_length < 1:
        raise DataError(f"max_length >= 1 must hold, got {max_length}: raise it", field="max_length")


def _column(y: Array) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(y, name="y", index=range(1, len(y) + 1))


def _read_series(path: Path, field: str) -> tuple[list[Array], Array]:
    """Give the series, each (T, C), and their targets (N,).

    Raises:
        DataError: The file or an array in it is not what `NpzSource` describes.
    """
    arrays = _read_arrays(path, field)
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 3 or x.dtype.kind not in "uif" or 0 in x.shape:
        raise DataError(
            f"x is numbers of shape (N, T, C), {path} has {x.dtype} of shape {x.shape}: write series, steps and "
            "channels in this order, a single channel as x[:, :, None]",
            field=field,
        )
    if y.shape != (len(x),) or y.dtype.kind not in "uifbU":
        raise DataError(
            f"y is a number, a text or a boolean for each of {len(x)} series, {path} has {y.dtype} of shape "
            f"{y.shape}: write an array of shape ({len(x)},)",
            field=field,
        )
    lengths = _lengths(arrays.get("lengths"), x, path, field)
    series = [row[:length] for row, length in zip(x, lengths, strict=True)]
    for number, steps in enumerate(series):
        if not np.isfinite(steps).all():
            step, channel = (int(index) for index in np.argwhere(~np.isfinite(steps))[0])
            raise DataError(
                f"every value of a series is a finite number, {path} has x[{number}, {step}, {channel}] = "
                f"{steps[step, channel]}: fill it in, or end the series before it by lengths",
                field=field,
            )
    return series, y


def _lengths(lengths: Array | None, x: Array, path: Path, field: str) -> list[int]:
    num_series, num_steps, _ = x.shape
    if lengths is None:
        return [num_steps] * num_series
    if lengths.shape != (num_series,) or lengths.dtype.kind not in "ui":
        raise DataError(
            f"lengths are a whole number for each of {num_series} series, {path} has {lengths.dtype} of shape "
            f"{lengths.shape}: write an array of integers of shape ({num_series},)",
            field=field,
        )
    wrong = (lengths < 1) | (lengths > num_steps)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"1 <= lengths <= {num_steps} must hold, x has {num_steps} steps, {path} has lengths[{row}] = "
            f"{lengths[row]}: correct it, or remove the series",
            field=field,
        )
    return [int(length) for length in lengths]


def _read_arrays(path: Path, field: str) -> dict[str, Array]:
    check_file(path, field=field)
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, NpzFile):
            raise DataError(
                f"a .npz file holds arrays by name, {path} is a single array: write it with "
                "np.savez(path, x=x, y=y)",
                field=field,
            )
        with loaded as file:
            absent = [name for name in ("x", "y") if name not in file.files]
            if absent:
                raise DataError(
                    f"a .npz file of series has x and y, {path} has {', '.join(file.files) or 'none'}: write "
                    f"{' and '.join(absent)} too",
                    field=field,
                )
            return {name: file[name] for name in ("x", "y", "lengths") if name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the file must be .npz with plain arrays, {path}: {str(error).splitlines()[0]}: write it with "
            "np.savez(path, x=x, y=y, lengths=lengths), x padded to one length",
            field=field,
        ) from error
