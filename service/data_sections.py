"""The `data` section of a spec: one model for each kind of data, chosen by its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """A part of a spec: immutable, with no unknown keys and no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def check_import_path(value: str) -> str:
    """Give an import path in the form `package.module:Name`.

    Raises:
        ValueError: It is none.
    """
    head, _, tail = value.replace(":", ".").rpartition(".")
    if not head or not all(part.isidentifier() for part in [*head.split("."), tail]):
        raise ValueError("an import path is module and class, such as my_package.models:MyModule")
    return f"{head}:{tail}"


class _Splits(Section):
    validation_fraction: float = Field(
        0.15,
        gt=0,
        lt=0.9,
        description="share of all rows that steers the search, stratified by class; with test_fraction below 0.95",
    )
    test_fraction: float = Field(
        0.15,
        gt=0,
        lt=0.9,
        description="share of all rows that only the winner meets; unused where the test split is given",
    )
    split_seed: int = Field(
        0, ge=0, description="the splits follow from this alone, so that another seed keeps them"
    )

    @model_validator(mode="after")
    def _leave_rows_for_training(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 0.95:
            raise ValueError(
                "validation_fraction + test_fraction must stay below 0.95, got "
                f"{self.validation_fraction} + {self.test_fraction}: lower one of them"
            )
        return self


class NamedData(_Splits):
    """A set that comes along with scikit-learn, or MNIST or Fashion-MNIST, which are downloaded at the first use.

    Downloads are checked and kept in `$TUNELADDER_DATA/NAME`, else in `~/.cache/tuneladder/NAME`. Without internet
    put the set's four `.gz` files there.
    """

    name: str = Field(description="digits, breast_cancer, wine, diabetes, mnist or fashion_mnist")


class TableData(_Splits):
    """A CSV or Parquet file with a target column."""

    csv: str | None = Field(None, description="the file, with a header line; either this or parquet")
    parquet: str | None = Field(None, description="the file; either this or csv")
    target: str = Field(description="the column to predict")
    test: str | None = Field(None, description="a file of the same format: it is the test split")
    categorical: tuple[str, ...] = Field(
        (), description="columns that are categories, whatever their type, such as codes written as numbers"
    )
    drop: tuple[str, ...] = Field((), description="columns that are not features")
    task: Literal["classification", "regression"] | None = Field(
        None, description="by default classification for text, booleans and few integers, else regression"
    )

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if (self.csv is None) == (self.parquet is None):
            raise ValueError("exactly one of csv and parquet names the file: give one of them")
        return self


class IdxData(_Splits):
    """A folder of images and labels in MNIST's own IDX format, gzipped or not."""

    idx: str = Field(
        description="the folder, with *images-idx3-ubyte and *labels-idx1-ubyte; a t10k pair is the test split"
    )


class ImagesData(_Splits):
    """A folder of image files, a folder in it for each class: `FOLDER/CLASS/NAME.png`.

    Files are PNG, JPEG, BMP, GIF, TIFF, WebP, PGM or PPM with 8 bits a channel. Hidden files and files of another
    kind are left out.
    """

    images: str = Field(description="the folder of classes")
    test: str | None = Field(None, description="a folder of the same kind: it is the test split")
    image_size: tuple[int, int] | None = Field(
        None,
        description="pixels to resize to, one number for a square or [height, width]; needed where sizes differ",
    )
    channels: Literal[1, 3] = Field(
        3, description="1 for grey, 3 for colours; images of the other kind are turned"
    )
    memory_limit_gib: float = Field(
        4.0,
        gt=0,
        description="GiB; up to this size all images are held in memory as 32-bit floats, larger sets are written "
        "to $TUNELADDER_DATA/streamed once and batches are read from there",
    )

    @field_validator("image_size", mode="before")
    @classmethod
    def _height_and_width(cls, value: object) -> object:
        sides = value if isinstance(value, list | tuple) else (value, value)
        if value is not None and not (len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)):
            raise ValueError(
                f"image_size is one number or [height, width], whole and at least 1, got {value!r}: change it"
            )
        return None if value is None else tuple(sides)


class TextData(_Splits):
    """A file of lines `LABEL text`, the label up to its first colon; rare words become `<unk>`."""

    text: str = Field(description="the file; a label such as DESC:manner counts as DESC")
    test: str | None = Field(None, description="a file of the same kind: it is the test split")
    encoding: str = Field("utf-8", description="of both files, such as latin-1; a wrong one is an error")
    min_frequency: int = Field(
        2, ge=1, description="words seen less often in training are <unk>: one example teaches nothing"
    )
    max_vocabulary: int = Field(
        20_000, ge=3, description="words at most, <pad> and <unk> included; the most frequent are kept"
    )
    max_length: int = Field(64, ge=1, description="words; longer texts are cut, for time grows with length")


class _SeriesFields(_Splits):
    test: str | None = Field(None, description="a file of the same kind: it is the test split")
    task: Literal["classification", "regression"] | None = Field(
        None, description="by default classification for text, booleans and few integers, else regression"
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="steps; longer series lose their last ones, for time grows with length; all by default",
    )


class NpzData(_SeriesFields):
    """Series in a NumPy file: `x` (N, T, C), `y` (N,) and, where they differ, `lengths` (N,).

    Write it with `numpy.savez(path, x=x, y=y, lengths=lengths)`: N series of T steps in C channels. Steps behind a
    series' length are padding.
    """

    npz: str = Field(description="the file, with x, y and perhaps lengths")


class SeriesData(_SeriesFields):
    """Series in a CSV file in long form, a line for each step; each column with no other role is a channel."""

    series: str = Field(description="the file, with a header line")
    series_id: str = Field(description="the column that says to which series a line belongs")
    target: str = Field(description="the column to predict, the same in all lines of a series")
    time: str | None = Field(
        None, description="the column that orders the steps, numbers or ISO 8601 dates; else the file's order"
    )
    drop: tuple[str, ...] = Field((), description="columns that are not channels")
    memory_limit_gib: float = Field(
        4.0, gt=0, description="GiB; padded to one length a file can become far larger than it is"
    )


class ModuleData(Section):
    """A person's own LightningDataModule, by import path."""

    module: str = Field(description="import path, such as my_package.data:MyData")
    params: dict[str, Any] = Field(
        default_factory=dict, description="arguments of its constructor that no trial changes"
    )

    @field_validator("module")
    @classmethod
    def _is_path(cls, value: str) -> str:
        return check_import_path(value)


DataSection = NamedData | TableData | IdxData | ImagesData | TextData | NpzData | SeriesData | ModuleData
_DATA_KEYS: dict[str, type[Section]] = {
    "name": NamedData,
    "csv": TableData,
    "parquet": TableData,
    "idx": IdxData,
    "images": ImagesData,
    "text": TextData,
    "npz": NpzData,
    "series": SeriesData,
    "module": ModuleData,
}


def pick_data(value: object) -> object:
    """Choose the section by its key, so that an error speaks of one kind of data and not of all."""
    if not isinstance(value, Mapping):
        return value
    return data_section(value).model_validate_json(json.dumps(value, default=str), strict=True)


def data_section(value: Mapping[str, Any]) -> type[BaseModel]:
    """Name the kind of data that a mapping means, by its key.

    Raises:
        ValueError: It has the key of none.
    """
    keys = [key for key in _DATA_KEYS if key in value]
    if not keys:
        raise ValueError(
            f"data is given by one of {', '.join(_DATA_KEYS)}, got {', '.join(map(str, value)) or 'nothing'}: "
            "for a built-in set write data: {name: digits}"
        )
    return _DATA_KEYS[keys[0]]
