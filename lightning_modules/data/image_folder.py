"""A folder of image files, a folder in it for each class, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from lightning_modules.data.image_files import SUFFIXES, read_image
from lightning_modules.data.image_stream import SCALE, ImageFiles, stream_folder
from lightning_modules.data.memory import DEFAULT_LIMIT_GIB, check_limit, fits
from lightning_modules.data.on_disk import make_room
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.errors import DataError

_LabelledFiles = Sequence[tuple[str, Path]]


@dataclass(frozen=True, kw_only=True)
class ImageFolderSource(SplitSource):
    """Images as `folder/class/name.png`, however deep below their class; hidden files and other files are ignored.

    Attributes:
        folder: The folder of classes.
        test_folder: One like it that is the test split.
        image_size: Height and width to resize to; None where all images have one size.
        channels: 1 for grey, 3 for colours.
        memory_limit_gib: What would be larger is not held in memory: it is standardized into files once, and
            batches are read from there.
    """

    folder: Path
    test_folder: Path | None = None
    image_size: tuple[int, int] | None = None
    channels: Literal[1, 3] = 3
    memory_limit_gib: float = DEFAULT_LIMIT_GIB

    label_field: ClassVar[str | None] = "folder"
    test_field: ClassVar[str | None] = "test_folder"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limit(self.memory_limit_gib)
        if self.channels not in (1, 3):
            raise DataError(f"channels are 1 or 3, got {self.channels}: choose one", field="channels")
        if self.image_size is not None and min(self.image_size) < 1:
            raise DataError(f"image_size >= 1 must hold, got {self.image_size}: raise it", field="image_size")

    def _read(self) -> Contents:
        files = _find_files(Path(self.folder), "folder")
        test_files = _find_files(Path(self.test_folder), "test_folder") if self.test_folder is not None else []
        size = self.image_size
        if size is None:
            first = read_image(files[0][1], channels=self.channels, size=None, field="folder")
            size = (first.shape[1], first.shape[2])
        shape = (len(files) + len(test_files), self.channels, *size)
        in_memory = fits(shape, limit_gib=self.memory_limit_gib)
        if not in_memory:
            make_room(stream_folder(), shape)

        def rows(labelled: _LabelledFiles, field: str) -> Rows:
            paths = np.asarray([str(path) for _, path in labelled], dtype=object)
            images = ImageFiles(
                paths, channels=self.channels, size=size, resize=self.image_size is not None, field=field
            )
            raw = images[:] if in_memory else images
            return Rows(raw=raw, target=np.asarray([label for label, _ in labelled], dtype=object))

        test = rows(test_files, "test_folder") if self.test_folder is not None else None
        return Contents(rows=rows(files, "folder"), test=test, task="classification")

    def _fit(self, train: Rows) -> Preprocessor:
        if isinstance(train.raw, ImageFiles):
            return train.raw.fit()
        return ImagePreprocessor.fit(train.raw, scale=SCALE)

    def _transform(self, rows: Rows, preprocessor: Preprocessor) -> dict[str, Array]:
        if isinstance(rows.raw, ImageFiles):
            return {"image": rows.raw.standardized(preprocessor)}
        return super()._transform(rows, preprocessor)


def _find_files(folder: Path, field: str) -> _LabelledFiles:
    """List class and path of each image, by class and path."""
    if not folder.is_dir():
        raise DataError(f"the folder must exist, {folder} does not: check the path", field=field)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(
            f"a folder of images has a folder for each class, {folder} has none: move the images to "
            f"{folder}/CLASS/",
            field=field,
        )
    files: list[tuple[str, Path]] = []
    for class_folder in classes:
        images = [path for path in sorted(class_folder.rglob("*")) if _is_image(path.relative_to(folder), path)]
        if not images:
            raise DataError(
                f"a class has at least one image ({', '.join(sorted(SUFFIXES))}), {class_folder} has none: add "
                "images, or remove the folder",
                field=field,
            )
        files += [(class_folder.name, path) for path in images]
    return files


def _is_image(name: Path, path: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in name.parts)
    return not is_hidden and path.suffix.lower() in SUFFIXES and path.is_file()
