"""What every leg of a job needs beside itself, made from the resolved spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_modules.data import ArrayDataModule
from lightning_modules.families import FAMILIES, split_settings
from service.catalog import ResolvedJob, fixed_values
from service.data_sections import ModuleData
from service.engine.train import LegContext
from service.own_code import OwnDataModule, import_class, sort_arguments
from service.search import Plan


def leg_context(job: ResolvedJob, plan: Plan) -> LegContext:
    """Make the context that reaches each worker once."""
    spec = job.spec
    if job.data is not None:
        data: Any = job.data
    else:
        assert isinstance(spec.data, ModuleData)
        data = OwnDataModule(module=spec.data.module, params=spec.data.params)
    return LegContext(
        family=spec.family_name,
        data=data,
        metric=plan.metric,
        mode=plan.mode,
        max_epochs=plan.max_epochs,
        fixed=fixed_settings(job),
        patience=spec.early_stopping.patience,
        min_delta=spec.early_stopping.min_delta,
        num_threads=spec.resources.cpu,
        precision=spec.resources.precision,
        use_gpu=spec.resources.gpu > 0,
        start=job.start.start if job.start else None,
        health=spec.checks.health,
    )


def fixed_settings(job: ResolvedJob) -> dict[str, Any]:
    """Give the settings that no trial changes; an empty value in the spec keeps the family's default."""
    return fixed_values(job.spec, job.start)


def trial_settings(job: ResolvedJob, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give everything that a trial's module is built from, for its bundle.

    For a family these are all fields of its config and recipe, so that another version's defaults change nothing;
    for a person's own module the arguments that its constructor takes.
    """
    values = fixed_settings(job) | dict(params)
    if job.spec.family_name in FAMILIES:
        config, recipe = split_settings(job.spec.family_name, values)
        return {**config.to_dict(), **recipe.to_dict()}
    module = import_class(job.spec.family_name)
    data = import_class(job.spec.data.module) if isinstance(job.spec.data, ModuleData) else ArrayDataModule
    return sort_arguments(values, module=module, data=data).module
