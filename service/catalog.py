"""What the names in a spec stand for: families, data, metrics, spaces; imported when they are needed.

`resolve(spec)` is the edge where everything that needs the data or the family is checked. It reads the
training and validation splits, never the test split.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning_modules.data.base import DataInfo, DataSource, TrainingData
from lightning_modules.errors import ConfigError, DataError
from search_spaces import Float, SearchSpace, SpaceError, get_space, outline_stages
from service.advice import warnings_of
from service.data_sections import ModuleData
from service.errors import InvalidSpecError
from service.sources import make_source, spec_keys
from service.spec import Mode, ModuleFamily, Spec, known_mode
from service.start import START_FROM, StartingBundle, read_start

METRICS: Mapping[str, tuple[str, ...]] = {
    "classification": ("val_accuracy", "val_macro_f1", "val_auroc", "val_loss"),
    "regression": ("val_rmse", "val_mae", "val_r2", "val_loss"),
}
DEFAULT_METRIC = {"classification": "val_accuracy", "regression": "val_rmse"}


@dataclass(frozen=True, kw_only=True)
class ResolvedJob:
    """A spec with everything that its names stand for.

    `data` is None where the data is a person's own LightningDataModule: workers make it themselves. `warnings`
    name settings that are allowed and hardly meant.
    """

    spec: Spec
    space: SearchSpace
    metric: str
    mode: Mode
    source: DataSource | None
    data: TrainingData | None
    warnings: tuple[str, ...] = ()
    start: StartingBundle | None = None

    @property
    def data_fingerprint(self) -> str:
        """Hash of the arrays that trials train on, and of the weights that they start from.

        Where the data is a module, of its import path and arguments: those name what it reads.
        """
        if self.data is not None:
            if self.start is None:
                return self.data.fingerprint
            return hashlib.sha256(f"{self.data.fingerprint}/{self.start.fingerprint}".encode()).hexdigest()
        section = cast(ModuleData, self.spec.data)
        named = f"module:{section.module}:{json.dumps(section.params, sort_keys=True)}"
        return hashlib.sha256(named.encode()).hexdigest()


@contextmanager
def _field_errors(prefix: str, spec_keys: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn the packages' own errors into the one for people, with the field's path in the spec."""
    try:
        yield
    except (SpaceError, ConfigError, DataError) as error:
        key = (spec_keys or {}).get(error.field or "", error.field)
        field = f"{prefix}.{key}" if key else prefix
        message = str(error).removeprefix(f"{error.field}: ")
        raise InvalidSpecError(message, field=field) from None


def load_class(import_path: str, *, field: str, base: str) -> type:
    """Import a class by its path, `my_package.models:MyModule`; the current folder is searched as well.

    Args:
        import_path: Module and class.
        field: Of the spec, for errors.
        base: The class of pytorch_lightning that it must inherit from.

    Raises:
        InvalidSpecError: The module or the class is not there, importing it raises, or it is of another kind.
    """
    module_name, _, name = import_path.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InvalidSpecError(
            f"the module must be importable, {module_name!r} raises {type(error).__name__}: {error}: check "
            "the path, or run where it can be imported (the current folder is searched too)",
            field=field,
        ) from None
    found = getattr(module, name, None)
    if not isinstance(found, type):
        names = [key for key, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "check the name"
        raise InvalidSpecError(f"{module_name!r} must have a class {name!r}, it has none: {remedy}", field=field)
    import pytorch_lightning

    if not issubclass(found, getattr(pytorch_lightning, base)):
        raise InvalidSpecError(
            f"the class must be a pytorch_lightning.{base}, {import_path} is none: derive it from {base} "
            "(of pytorch_lightning: the one of the package `lightning` is another class)",
            field=field,
        )
    return found


def resolve(spec: Spec) -> ResolvedJob:
    """Check a spec against its data and its family.

    Raises:
        InvalidSpecError: A rule is broken; names the field, the rule, the value and the remedy.
    """
    if isinstance(spec.family, ModuleFamily):
        module = load_class(spec.family.module, field="family.module", base="LightningModule")
    data_class = None
    if isinstance(spec.data, ModuleData):
        data_class = load_class(spec.data.module, field="data.module", base="LightningDataModule")
        source, data = None, None
    else:
        with _field_errors("data", spec_keys(spec.data)):
            source = make_source(spec)
            data = source.read_training()
    if isinstance(spec.family, ModuleFamily):
        _check_arguments(spec, module, data_class)
    start = read_start(spec, data.preprocessing) if data and isinstance(spec.family, str) else None
    space = _resolve_space(spec, data.info if data else None, start)
    if start is not None and data is not None:
        _check_start(spec, space, data, start)
    metric, mode = _resolve_objective(spec, data.info if data else None)
    _check_range_test(spec, space)
    with _field_errors("search"):
        outline_stages(space, spec.search.order)
    own_module = isinstance(spec.family, ModuleFamily)
    return ResolvedJob(
        spec=spec,
        space=space,
        metric=metric,
        mode=mode,
        source=source,
        data=data,
        start=start,
        warnings=()
        if data is None or own_module
        else warnings_of(spec, space, data.info, fixed=fixed_values(spec, start)),
    )


def fixed_values(spec: Spec, start: StartingBundle | None) -> dict[str, Any]:
    """Give the settings that no trial changes: the spec's, over those of the bundle that the job starts from."""
    given = {name: value for name, value in spec.model.items() if value is not None}
    if not isinstance(spec.family, str):
        return given
    return {**(start.settings if start else {}), **{k: v for k, v in given.items() if k != START_FROM}}


def _check_start(spec: Spec, space: SearchSpace, data: TrainingData, start: StartingBundle) -> None:
    """Build a network once and load the weights: what does not fit is told before anything runs."""
    from lightning_modules.seeding import seeded
    from lightning_modules.task import build_task

    words = data.preprocessing.get("words", ())
    settings = {**space.defaults(), **fixed_values(spec, start)}
    with _field_errors("model"), seeded(0):
        build_task(
            spec.family_name, settings, data.info, max_epochs=1, steps_per_epoch=1, start=start.start, words=words
        )


def _check_arguments(spec: Spec, module: type, data_class: type | None) -> None:
    """Check that a person's own classes take what the spec sets and searches."""
    from service.own_code import BuiltInData, sort_arguments

    for section, names in (("model", spec.model), ("search.space", spec.search.space)):
        for name in names:
            try:
                sort_arguments({name: None}, module=module, data=data_class or BuiltInData)
            except ValueError as error:
                raise InvalidSpecError(f"{error}: rename it", field=f"{section}.{name}") from None


def _resolve_objective(spec: Spec, info: DataInfo | None) -> tuple[str, Mode]:
    metric, mode = spec.objective.metric, spec.objective.mode
    own_module = isinstance(spec.family, ModuleFamily)
    if metric == "auto":
        if info is None or own_module:
            raise InvalidSpecError(
                "is required for a module of your own: name a metric that it logs, such as val_loss",
                field="objective.metric",
            )
        metric = DEFAULT_METRIC[info.task]
    if info is not None and not own_module and metric not in METRICS[info.task]:
        known = METRICS[info.task]
        near = difflib.get_close_matches(metric, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
        raise InvalidSpecError(f"unknown metric {metric!r} for {info.task}: {remedy}", field="objective.metric")
    mode = mode or known_mode(metric)
    if mode is None:
        raise InvalidSpecError(
            f"is required for {metric!r}, whose direction is not known: write min or max", field="objective.mode"
        )
    return metric, mode


def _resolve_space(spec: Spec, info: DataInfo | None, start: StartingBundle | None) -> SearchSpace:
    if isinstance(spec.family, ModuleFamily):
        with _field_errors("search.space"):
            space = SearchSpace(name=spec.family.module, parameters=())
            space = space.override(spec.search.space, allow_new=True)
        if not len(space):
            raise InvalidSpecError(
                "a module of your own has no space of its own: give at least one parameter, such as "
                "lr: {low: 1.0e-4, high: 0.1, log: true}",
                field="search.space",
            )
        return space
    from lightning_modules.families import get_family

    family = get_family(spec.family)
    if info is None or info.kind not in family.kinds:
        found = info.kind if info else "a LightningDataModule"
        raise InvalidSpecError(
            f"{spec.family} takes {' or '.join(family.kinds)} data, got {found}: choose another family or data",
            field="family",
        )
    both = sorted(set(spec.search.space) & set(spec.model))
    if both:
        raise InvalidSpecError(
            f"a parameter is fixed or searched, {both[0]} stands under model and under search.space: drop one",
            field=f"search.space.{both[0]}",
        )
    with _field_errors("search.space"):
        space = get_space(spec.family).override(spec.search.space, allow_new=False)
    fixed = fixed_values(spec, start)
    space = space.without([*fixed, *spec.model, *_without_effect(spec, info)])
    _check_settings(spec, space, info, fixed)
    return space


def _without_effect(spec: Spec, info: DataInfo) -> list[str]:
    """Name the parameters that change nothing on this data: an embedding needs something to embed."""
    embeds = info.kind == "text" or bool(info.cardinalities)
    return [] if embeds or "embedding_dim" in spec.search.space else ["embedding_dim"]


def _check_range_test(spec: Spec, space: SearchSpace) -> None:
    lr = space["lr"] if "lr" in space.names else None
    if spec.search.lr_range_test and not (isinstance(lr, Float) and lr.log):
        found = "fixes or lacks it" if lr is None else "gives it as a list or on a linear scale"
        raise InvalidSpecError(
            f"a range test needs a parameter lr with a logarithmic range, this space {found}: give search.space.lr"
            " low, high and log: true, or leave lr_range_test out",
            field="search.lr_range_test",
        )


def _check_settings(spec: Spec, space: SearchSpace, info: DataInfo, fixed: Mapping[str, Any]) -> None:
    """Make the settings and the loss once for every edge of the space, so that no trial meets a bad value."""
    from lightning_modules.augmentation import check_augmentation
    from lightning_modules.families import split_settings
    from lightning_modules.losses import make_loss

    def check(settings: Mapping[str, Any]) -> None:
        _, recipe = split_settings(spec.family_name, settings)
        check_augmentation(recipe, info)
        make_loss(recipe, info)

    with _field_errors("model"):
        check(fixed)
    base = {**space.defaults(), **fixed}
    for parameter in space:
        for value in parameter.edges():
            with _field_errors("search.space"):
                check(base | {parameter.name: value})
