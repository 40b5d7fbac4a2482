"""Folders of images and labels in MNIST's own format.

Source:
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "FILE FORMATS": two zero bytes, a
    byte for the type (0x08 is unsigned bytes), a byte for the number of axes, each axis as a big-endian 32-bit
    number, then the values.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, cast

import numpy as np

from lightning_modules.data.files import check_file
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.errors import DataError

_UNSIGNED_BYTES = 0x08
_FILE = re.compile(r"(?P<prefix>.*?)(?P<what>images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?")


@dataclass(frozen=True, kw_only=True)
class IdxSource(SplitSource):
    """A folder with `*images-idx3-ubyte` and `*labels-idx1-ubyte`, each gzipped (`.gz`) or not.

    With a `train` pair and a `t10k` (or `test`) pair, the latter is the test split. A single pair is split three
    ways. Where a file lies there both gzipped and not, the one that is not is read.

    Attributes:
        folder: The folder.
    """

    folder: Path

    label_field: ClassVar[str | None] = "folder"
    test_field: ClassVar[str | None] = "folder"

    def _read(self) -> Contents:
        pairs = _find_pairs(Path(self.folder))
        if len(pairs) == 1:
            return Contents(rows=read_pair(*next(iter(pairs.values()))), task="classification")
        test = [prefix for prefix in pairs if "t10k" in prefix or "test" in prefix]
        train = [prefix for prefix in pairs if "train" in prefix and prefix not in test]
        if len(pairs) != 2 or len(test) != 1 or len(train) != 1:
            raise DataError(
                "a folder has one pair of images and labels, or a train and a t10k pair, "
                f"{self.folder} has {', '.join(sorted(pairs))}: keep the files of one set",
                field="folder",
            )
        rows, test_rows = read_pair(*pairs[train[0]]), read_pair(*pairs[test[0]])
        if rows.raw.shape[1:] != test_rows.raw.shape[1:]:
            raise DataError(
                f"training and test images must have one size, got {rows.raw.shape[1:]} and "
                f"{test_rows.raw.shape[1:]}: keep the files of one set",
                field="folder",
            )
        return Contents(rows=rows, test=test_rows, task="classification")

    def _fit(self, train: Rows) -> Preprocessor:
        return ImagePreprocessor.fit(train.raw, scale=255.0)


def read_idx(path: Path, *, num_axes: int) -> Array:
    """Read one file of unsigned bytes.

    Args:
        path: The file; gzipped if its name ends in `.gz`.
        num_axes: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: The file is absent, corrupted, of another type, or shorter or longer than its header says.
    """
    check_file(path, field="folder")
    is_gzip = path.suffix == ".gz"
    try:
        with cast(IO[bytes], gzip.open(path, "rb") if is_gzip else path.open("rb")) as file:
            shape = _read_shape(file, path, num_axes)
            expected = math.prod(shape)
            values = file.read(expected)
            is_longer = bool(file.read(1))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"the gzip file {path} is corrupted: {error}: get it again", field="folder") from error
    if len(values) != expected or is_longer:
        found = "more" if is_longer else f"{len(values):,}"
        raise DataError(
            f"{path} must hold {expected:,} values as its header says ({' x '.join(map(str, shape))}), it has "
            f"{found}: get it again",
            field="folder",
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _read_shape(file: IO[bytes], path: Path, num_axes: int) -> tuple[int, ...]:
    header_bytes = 4 + 4 * num_axes
    header = file.read(header_bytes)
    magic = int.from_bytes(header[:4], "big")
    wanted = _UNSIGNED_BYTES << 8 | num_axes
    if len(header) >= 4 and magic != wanted:
        raise DataError(
            f"{path} must begin with the magic number 0x{wanted:08x} (unsigned bytes, {num_axes} axes), got "
            f"0x{magic:08x}: is it the right file, and gzipped if and only if it ends in .gz?",
            field="folder",
        )
    if len(header) < header_bytes:
        raise DataError(
            f"{path} must begin with a header of {header_bytes} bytes, it has {len(header)}: get it again",
            field="folder",
        )
    return struct.unpack(f">{num_axes}I", header[4:])


def _find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    if not folder.is_dir():
        raise DataError(f"the folder must exist, {folder} does not: check the path", field="folder")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):  # `x` comes before `x.gz`
        match = _FILE.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(match["prefix"].rstrip("-_."), {}).setdefault(match["what"][:6], path)
    if not found:
        raise DataError(
            f"a folder needs *images-idx3-ubyte and *labels-idx1-ubyte, {folder} has neither: check the path",
            field="folder",
        )
    for files in found.values():
        if len(files) != 2:
            there = next(iter(files.values())).name
            raise DataError(
                f"images and labels come in pairs, {folder} has {there} without its "
                f"{'labels' if 'images' in files else 'images'}: add the file",
                field="folder",
            )
    return {prefix: (files["images"], files["labels"]) for prefix, files in found.items()}


def read_pair(image_path: Path, label_path: Path) -> Rows:
    """Read a file of images and the file of their labels; a label is the text of its number.

    Raises:
        DataError: A file cannot be read, or they do not belong together.
    """
    images, labels = read_idx(image_path, num_axes=3), read_idx(label_path, num_axes=1)
    if len(images) != len(labels):
        raise DataError(
            f"every image needs a label, {image_path.name} has {len(images):,} images and {label_path.name} "
            f"{len(labels):,} labels: keep the files of one set",
            field="folder",
        )
    if not images.size:
        raise DataError(
            f"the set must have images, {image_path} has shape {images.shape}: get it again", field="folder"
        )
    return Rows(raw=images, target=np.asarray([str(label) for label in labels.tolist()], dtype=object))
