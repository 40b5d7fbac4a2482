"""From the `data` section of a spec to the source that reads it, and back to the spec's keys in errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_modules.data.base import DataSource
from service.data_sections import (
    DataSection,
    IdxData,
    ImagesData,
    ModuleData,
    NamedData,
    NpzData,
    SeriesData,
    TableData,
    TextData,
)
from service.spec import Spec

# What a section's paths are called in its source; every other field has one name in both.
_PATHS: Mapping[type, Mapping[str, str]] = {
    TableData: {"csv": "path", "parquet": "path", "test": "test_path"},
    IdxData: {"idx": "folder"},
    ImagesData: {"images": "folder", "test": "test_folder"},
    TextData: {"text": "path", "test": "test_path"},
    NpzData: {"npz": "path", "test": "test_path"},
    SeriesData: {"series": "path", "test": "test_path"},
}


def make_source(spec: Spec) -> DataSource:
    """Make the data source that a spec's `data` names."""
    section = spec.data
    fields: dict[str, Any] = dict(section)
    for key, name in _paths(section).items():
        path = fields.pop(key)
        fields[name] = None if path is None else Path(path)
    if isinstance(section, TableData):
        fields["format"] = "csv" if section.csv else "parquet"
        fields.pop("parquet" if section.csv else "csv")
    return _source_class(section)(**fields)


def _source_class(section: DataSection) -> type[DataSource]:
    from lightning_modules import data

    classes: Mapping[type, type[DataSource]] = {
        TableData: data.TableSource,
        IdxData: data.IdxSource,
        ImagesData: data.ImageFolderSource,
        TextData: data.TextSource,
        NpzData: data.NpzSource,
        SeriesData: data.SeriesSource,
    }
    if isinstance(section, ModuleData):
        raise TypeError("a LightningDataModule has no source")
    if isinstance(section, NamedData):
        return data.PublishedSource if section.name in data.PUBLISHED_SETS else data.BuiltinSource
    return classes[type(section)]


def spec_keys(section: DataSection) -> dict[str, str]:
    """Say what the fields of a section's data source are called in a spec, where the names differ."""
    keys = {name: key for key, name in _paths(section).items()}
    return keys | {"columns": keys["path"]} if isinstance(section, TableData) else keys


def _paths(section: DataSection) -> Mapping[str, str]:
    """Leave out the keys of a table's other format."""
    paths = _PATHS.get(type(section), {})
    if isinstance(section, TableData):
        other = "parquet" if section.csv else "csv"
        paths = {key: name for key, name in paths.items() if key != other}
    return paths
