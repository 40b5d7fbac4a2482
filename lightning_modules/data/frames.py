"""CSV and Parquet files as data frames whose index counts the rows from 1."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning_modules.data.files import check_file
from lightning_modules.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TableFormat = Literal["csv", "parquet"]


def read_frame(
    path: Path, *, table_format: TableFormat, text_columns: Collection[str] = (), field: str
) -> pd.DataFrame:
    """Read a table.

    Args:
        path: The file.
        table_format: `parquet`, or `csv`: UTF-8, commas, one header line; empty cells, NA, NaN, null and the like
            are missing.
        text_columns: Columns of a CSV file that stay text, whatever they look like: `007` stays `007`.
        field: The data source's field that an error names.

    Raises:
        DataError: The file is absent, empty or broken, has no rows, or has columns with no name or the same one.
    """
    check_file(path, field=field)
    frame = _read_csv(path, text_columns, field) if table_format == "csv" else _read_parquet(path, field)
    if not len(frame):
        raise DataError(f"the table must have rows, {path} has a header only: add rows", field=field)
    frame.index = frame.index.__class__(range(1, len(frame) + 1))
    return frame


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which names are meant, or which there are."""
    known = list(names)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"the columns are {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"


def check_same_columns(
    test: pd.DataFrame, training: pd.DataFrame, *, ignored: Collection[str], path: Path
) -> None:
    """Check that a test file has the columns of the training file, in any order.

    Raises:
        DataError: One is absent, or there is another one.
    """
    needed, found = set(training.columns) - set(ignored), set(test.columns) - set(ignored)
    if needed == found:
        return
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


def _read_csv(path: Path, text_columns: Collection[str], field: str) -> pd.DataFrame:
    import pandas as pd

    try:
        header = _check_csv_rows(path, field)
        # The strict reading above has seen every row; this one is for speed and types.
        return pd.read_csv(
            path,
            encoding="utf-8-sig",
            dtype={name: str for name in header if name in text_columns},
            index_col=False,
            low_memory=False,
        )
    except UnicodeDecodeError as error:
        raise DataError(
            f"a CSV file must be UTF-8, {path} has byte 0x{error.object[error.start]:02x} "
            f"({error.reason}): save it as UTF-8",
            field=field,
        ) from error
    except (csv.Error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the file must be CSV, {path}: {error}: write it again", field=field) from error


def _check_csv_rows(path: Path, field: str) -> list[str]:
    """Read once for what pandas would fill in or rename: short rows, repeated names. Gives the header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next((row for row in reader if row), [])
        _check_header(header, path, field)
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"every row needs a value for each of {len(header)} columns, {path} has {len(row)} in line "
                    f"{reader.line_num}: fix the row, and quote values that hold commas",
                    field=field,
                )
    return header


def _check_header(header: list[str], path: Path, field: str) -> None:
    if not header:
        raise DataError(f"the table must have a header, {path} has none: write it again", field=field)
    unnamed = [position for position, name in enumerate(header, start=1) if not name.strip()]
    if unnamed:
        raise DataError(
            f"every column needs a name, column {unnamed[0]} of {path} has none: name it, or write the table "
            "without its index",
            field=field,
        )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(
            f"column names must differ, {path} repeats {', '.join(map(repr, repeated))}: rename them", field=field
        )
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(
            f"values are separated by commas, the header of {path} is {header[0][:80]!r}: write it with commas",
            field=field,
        )


def _read_parquet(path: Path, field: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the file must be Parquet, {path}: {str(error).splitlines()[0]}: write it again", field=field
        ) from error
    frame.columns = [str(name) for name in frame.columns]
    _check_header(list(frame.columns), path, field)
    return frame
