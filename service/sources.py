"""From the `data` section of a spec to the source that reads it, and back to the spec's keys in errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_modules.data.base import DataSource
from service.data_sections import IdxData, ModuleData, NamedData, NpzData, SeriesData, TableData, TextData
from service.spec import Spec


def make_source(spec: Spec) -> DataSource:
    """Make the data source that a spec's `data` names."""
    from lightning_modules.data import BuiltinSource, IdxSource, NpzSource, SeriesSource, TableSource, TextSource

    section = spec.data
    if isinstance(section, ModuleData):
        raise TypeError("a LightningDataModule has no source")
    splits: dict[str, Any] = {
        "validation_fraction": section.validation_fraction,
        "test_fraction": section.test_fraction,
        "split_seed": section.split_seed,
    }
    match section:
        case NamedData():
            return BuiltinSource(name=section.name, **splits)
        case TableData():
            return TableSource(
                path=Path(section.csv or section.parquet or ""),
                format="csv" if section.csv else "parquet",
                target=section.target,
                test_path=Path(section.test) if section.test else None,
                categorical=section.categorical,
                drop=section.drop,
                task=section.task,
                **splits,
            )
        case IdxData():
            return IdxSource(folder=Path(section.idx), **splits)
        case TextData():
            return TextSource(
                path=Path(section.text),
                test_path=Path(section.test) if section.test else None,
                encoding=section.encoding,
                min_frequency=section.min_frequency,
                max_vocabulary=section.max_vocabulary,
                max_length=section.max_length,
                **splits,
            )
        case NpzData():
            return NpzSource(
                path=Path(section.npz),
                test_path=Path(section.test) if section.test else None,
                task=section.task,
                max_length=section.max_length,
                **splits,
            )
        case SeriesData():
            return SeriesSource(
                path=Path(section.series),
                series_id=section.series_id,
                target=section.target,
                time=section.time,
                test_path=Path(section.test) if section.test else None,
                drop=section.drop,
                task=section.task,
                max_length=section.max_length,
                memory_limit_gib=section.memory_limit_gib,
                **splits,
            )


def spec_keys(section: object) -> dict[str, str]:
    """Say what the fields of a data source are called in a spec."""
    match section:
        case TableData():
            file = "csv" if section.csv else "parquet"
            return {"path": file, "test_path": "test", "columns": file}
        case TextData():
            return {"path": "text", "test_path": "test"}
        case IdxData():
            return {"folder": "idx"}
        case NpzData():
            return {"path": "npz", "test_path": "test"}
        case SeriesData():
            return {"path": "series", "test_path": "test"}
    return {}
