"""A person's own LightningModule and LightningDataModule: imported, given the arguments that they name, made."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

import pytorch_lightning as pl

from lightning_modules.data import DataInfo
from lightning_modules.seeding import seeded

_MAX_DATAMODULES = 8  # each may hold its data; a search over batch sizes makes one for each
_DATA_SEED = 0  # what a data module draws when it is made is the same in every trial and process
_datamodules: OrderedDict[tuple[type, str], pl.LightningDataModule] = OrderedDict()


@dataclass(frozen=True, kw_only=True)
class OwnDataModule:
    """A person's own LightningDataModule: its class or import path, and its constructor's arguments."""

    module: str | type[pl.LightningDataModule]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """A trial's hyperparameters, sorted by who takes them. A name may stand in both."""

    module: dict[str, Any]
    data: dict[str, Any]


class BuiltInData:
    """Names what a hyperparameter may set of the data module of anything but a person's own data."""

    def __init__(self, batch_size: int) -> None: ...


def import_class(path: str | type) -> type[Any]:
    """Import a class by its path, `package.module:Class`; a class is given back as it is.

    Raises:
        ValueError: The path has another form, or the module has no such class.
        ImportError: The module cannot be imported.
    """
    if isinstance(path, type):
        return path
    module_name, colon, name = path.partition(":")
    if not colon:
        raise ValueError(f"an import path is module and class, got {path!r}: write it as package.module:Class")
    found = getattr(importlib.import_module(module_name), name, None)
    if not isinstance(found, type):
        raise ValueError(f"{module_name!r} must have a class {name!r}, it has none: check the name")
    return found


def sort_arguments(values: Mapping[str, Any], *, module: type, data: type) -> Arguments:
    """Give each class the hyperparameters that its constructor names.

    One with `**kwargs` takes more: a module all, a data module those that the module does not take.

    Raises:
        ValueError: A hyperparameter is taken by neither.
    """
    module_names, module_takes_all = _accepted(module)
    data_names, data_takes_all = _accepted(data)
    for_module = {name: value for name, value in values.items() if module_takes_all or name in module_names}
    for_data = {
        name: value
        for name, value in values.items()
        if name in data_names or (data_takes_all and name not in for_module)
    }
    homeless = [name for name in values if name not in for_module and name not in for_data]
    if homeless:
        raise ValueError(
            f"each hyperparameter must be an argument of {module.__name__} or {data.__name__}, got "
            f"{', '.join(homeless)}: {module.__name__} takes {', '.join(sorted(module_names)) or 'none'}, "
            f"{data.__name__} takes {', '.join(sorted(data_names)) or 'none'}"
        )
    return Arguments(module=for_module, data=for_data)


def _accepted(class_: type) -> tuple[set[str], bool]:
    """List the keyword arguments that a constructor names, and whether it takes any other as well."""
    parameters = inspect.signature(class_).parameters.values()
    names = {p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    return names, any(p.kind is Parameter.VAR_KEYWORD for p in parameters)


def make_module(class_: type[pl.LightningModule], arguments: Mapping[str, Any], info: DataInfo | None) -> Any:
    """Make a person's module, with the data's `info` where its constructor names it."""
    if info is not None and "info" in _accepted(class_)[0]:
        return class_(**{"info": info, **arguments})
    return class_(**arguments)


def make_datamodule(class_: type[pl.LightningDataModule], arguments: Mapping[str, Any]) -> pl.LightningDataModule:
    """Make a person's data module, once for the same arguments in this process; its data is prepared once.

    The latest eight are kept. `setup` runs for every fit, as Lightning promises.
    """
    key = (class_, json.dumps(dict(arguments), sort_keys=True, default=repr))
    if key not in _datamodules:
        with seeded(_DATA_SEED):
            datamodule = class_(**arguments)
            datamodule.prepare_data()
        setattr(datamodule, "prepare_data", _already_prepared)  # noqa: B010  mypy: a method is not assigned to
        _datamodules[key] = datamodule
    _datamodules.move_to_end(key)
    while len(_datamodules) > _MAX_DATAMODULES:
        _datamodules.popitem(last=False)
    return _datamodules[key]


def _already_prepared() -> None:
    """Stand for `prepare_data`, which Lightning calls in every fit."""
