"""Sets that are downloaded when they are asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from lightning_modules.data.files import RemoteFile
from lightning_modules.data.idx import read_pair
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A set in MNIST's format, as its authors published it.

    Attributes:
        mirrors: Addresses that its files stand behind.
        files: Training images and labels, test images and labels.
        class_names: In the order of the labels.
    """

    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    class_names: tuple[str, ...]


def _files(*checksums: str) -> tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]:
    train_images, train_labels, test_images, test_labels = checksums
    return (
        RemoteFile(name="train-images-idx3-ubyte.gz", md5=train_images),
        RemoteFile(name="train-labels-idx1-ubyte.gz", md5=train_labels),
        RemoteFile(name="t10k-images-idx3-ubyte.gz", md5=test_images),
        RemoteFile(name="t10k-labels-idx1-ubyte.gz", md5=test_labels),
    )


PUBLISHED_SETS: Mapping[str, PublishedSet] = MappingProxyType(
    {
        # LeCun, Cortes, Burges 1998; 70,000 handwritten digits. Their own server refuses since 2022.
        "mnist": PublishedSet(
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            files=_files(
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            class_names=tuple("0123456789"),
        ),
        # Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; 70,000 articles of clothing.
        "fashion_mnist": PublishedSet(
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            ),
            files=_files(
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class PublishedSource(SplitSource):
    """A published set by name, downloaded at the first use; its own 10,000 test images are the test split.

    Attributes:
        name: `mnist` or `fashion_mnist`: 70,000 images of 1x28x28, ten classes.
        folder: Where its files are or will be; None for a folder of its name in `data_folder()`.
    """

    name: str
    folder: Path | None = None

    label_field: ClassVar[str | None] = "name"
    test_field: ClassVar[str | None] = "name"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in PUBLISHED_SETS:
            raise DataError(
                f"a published set is one of {', '.join(PUBLISHED_SETS)}, got {self.name!r}: choose one",
                field="name",
            )

    def _read(self) -> Contents:
        from lightning_modules.data.download import data_folder, fetch_files

        published = PUBLISHED_SETS[self.name]
        folder = self.folder or data_folder() / self.name
        train_images, train_labels, test_images, test_labels = fetch_files(
            published.files, mirrors=published.mirrors, folder=folder, field="name"
        )
        names = published.class_names
        return Contents(
            rows=_with_names(read_pair(train_images, train_labels), names),
            test=_with_names(read_pair(test_images, test_labels), names),
            task="classification",
            class_names=names,
        )

    def _fit(self, train: Rows) -> Preprocessor:
        return ImagePreprocessor.fit(train.raw, scale=255.0)


def _with_names(rows: Rows, names: tuple[str, ...]) -> Rows:
    return Rows(raw=rows.raw, target=np.asarray([names[int(label)] for label in rows.target], dtype=object))
