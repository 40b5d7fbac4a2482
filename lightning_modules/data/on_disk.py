"""Arrays that are larger than memory: written once to a file, read from it in pieces, and sent by name."""

from __future__ import annotations

import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from lightning_modules.data.preprocessor import Array
from lightning_modules.errors import DataError

CHUNK_BYTES = 64 * 2**20  # of 32-bit floats that are made at a time


class DiskArray(np.memmap):
    """A read-only array in a `.npy` file; to pickle it is to name the file.

    So a set that no memory holds reaches the workers of a job, on this machine or wherever the same path leads to
    the same file. What is computed from it, and every part of it, is an ordinary array.
    """

    def __array_finalize__(self, base: Any) -> None:
        """Forget the file: a view or a result is not the whole of it."""
        super().__array_finalize__(base)
        self._is_whole = False

    def __reduce__(self) -> Any:
        """Name the file, or give the values of a part."""
        if not getattr(self, "_is_whole", False):
            return np.asarray(self).copy().__reduce__()
        return open_array, (str(self.filename),)


def open_array(path: str) -> DiskArray:
    """Open a `.npy` file without reading it.

    Raises:
        DataError: It is not there.
    """
    try:
        mapped = np.load(path, mmap_mode="r").view(DiskArray)
    except OSError as error:
        raise DataError(
            f"a set larger than memory is read from where it was written, {path} cannot be opened here "
            f"({error.strerror or error}): give all nodes one folder for it by TUNELADDER_DATA, or one node",
            field="memory_limit_gib",
        ) from None
    mapped._is_whole = True
    assert isinstance(mapped, DiskArray)
    return mapped


def written_once(path: Path, shape: tuple[int, ...], write: Callable[[Array], None]) -> DiskArray:
    """Write an array of 32-bit floats to a file that is there whole or not at all; what is there is taken.

    Args:
        path: The `.npy` file; its name has to follow from all that its values follow from.
        shape: Of the array.
        write: Fills it.
    """
    if not path.exists():
        part = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
        try:
            array = open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
            write(array)
            array.flush()
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return open_array(str(path))


def chunks(num_rows: int, row_shape: Iterable[int]) -> Iterable[slice]:
    """Cut rows into pieces of at most `CHUNK_BYTES` as 32-bit floats, and at least one row."""
    rows = max(1, CHUNK_BYTES // (4 * math.prod(row_shape)))
    return (slice(start, min(start + rows, num_rows)) for start in range(0, num_rows, rows))


def make_room(folder: Path, shape: tuple[int, ...]) -> None:
    """Make a folder, and check that its disk holds an array of 32-bit floats.

    Raises:
        DataError: It does not, or the folder cannot be made.
    """
    remedy = "make room, set TUNELADDER_DATA to a folder on a larger disk, or lower image_size"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DataError(
            f"a set larger than memory is written to disk, {folder} cannot be used ({error.strerror}): {remedy}",
            field="memory_limit_gib",
        ) from None
    needed, gib = 4 * math.prod(shape), 2**30
    if needed > free:
        raise DataError(
            f"a set larger than memory is written to disk as 32-bit floats, {needed / gib:.3g} GiB are needed "
            f"below {folder} and {free / gib:.3g} GiB are free: {remedy}",
            field="memory_limit_gib",
        )
