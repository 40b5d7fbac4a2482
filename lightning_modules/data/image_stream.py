"""Image files that are read when they are asked for, and their standardized pixels in a file on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.data.download import data_folder
from lightning_modules.data.image_files import read_image
from lightning_modules.data.on_disk import DiskArray, chunks, written_once
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.errors import DataError

SCALE = 255.0  # the largest value of a pixel in a file


class ImageFiles:
    """The images of some files, as an array of bytes (N, C, H, W) whose rows are read when they are asked for.

    A slice reads; an array of row numbers chooses files.

    Args:
        paths: The files, an object array of str.
        channels: 1 for grey, 3 for colours.
        size: Height and width of every image.
        resize: Resize to this size; otherwise an image of another one is an error.
        field: The field that an error names.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: Array, *, channels: int, size: tuple[int, int], resize: bool, field: str) -> None:
        self._paths, self._channels, self._size, self._field = paths, channels, size, field
        self._resize = resize

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self._paths), self._channels, *self._size

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __getitem__(self, rows: slice | Array) -> Any:
        """Read a slice's images (B, C, H, W), uint8; of an array of row numbers give the files."""
        if not isinstance(rows, slice):
            return ImageFiles(
                self._paths[rows], channels=self._channels, size=self._size, resize=self._resize, field=self._field
            )
        paths = self._paths[rows]
        images = np.empty((len(paths), self._channels, *self._size), dtype=np.uint8)
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside of Python's lock
            for row, image in enumerate(pool.map(self._read, paths)):
                images[row] = image
        return images

    def _read(self, path: str) -> Array:
        size = self._size if self._resize else None
        image = read_image(Path(path), channels=self._channels, size=size, field=self._field)
        if image.shape[1:] != self._size:
            height, width = image.shape[1:]
            raise DataError(
                f"images of one set have one size unless image_size is given, {path} has {height} x {width} "
                f"pixels and the first image {self._size[0]} x {self._size[1]}: set image_size",
                field="image_size",
            )
        return image

    def fit(self) -> ImagePreprocessor:
        """Measure the images; what was measured of these files once is taken."""
        kept = stream_folder() / f"{self._fingerprint()}.json"
        if kept.exists():
            return ImagePreprocessor.from_dict(json.loads(kept.read_text(encoding="utf-8")))
        fitted = ImagePreprocessor.fit(self, scale=SCALE)  # type: ignore[arg-type]
        part = kept.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(fitted.to_dict()), encoding="utf-8")
        os.replace(part, kept)
        return fitted

    def standardized(self, preprocessor: Preprocessor) -> DiskArray:
        """Give the images as a network gets them, (N, C, H, W) float32, in a file that is written once."""
        fitted = json.dumps(preprocessor.to_dict(), sort_keys=True)
        key = hashlib.sha256(f"{self._fingerprint()}/{fitted}".encode()).hexdigest()

        def write(array: Array) -> None:
            for rows in chunks(len(self), self.shape[1:]):
                array[rows] = preprocessor.transform(self[rows])["image"]

        return written_once(stream_folder() / f"{key}.npy", self.shape, write)

    def _fingerprint(self) -> str:
        """Hash what the pixels follow from: a file that was changed has another time or size."""
        digest = hashlib.sha256(json.dumps([self._channels, self._size, self._resize]).encode())
        for path in self._paths:
            stat = Path(path).stat()
            digest.update(f"{Path(path).absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def stream_folder() -> Path:
    """Give the folder of what is streamed; what lies there can be made again, and be removed between jobs."""
    return data_folder() / "streamed"
