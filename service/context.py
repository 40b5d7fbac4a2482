"""What every leg of a job needs beside itself, made from the resolved spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.catalog import ResolvedJob
from service.engine.train import LegContext
from service.own_code import OwnDataModule
from service.search import Plan
from service.spec import ModuleData


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
    )


def fixed_settings(job: ResolvedJob) -> dict[str, Any]:
    """Give the settings that no trial changes; an empty value in the spec keeps the family's default."""
    return {name: value for name, value in job.spec.model.items() if value is not None}


def trial_settings(job: ResolvedJob, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give all settings of a trial."""
    return fixed_settings(job) | dict(params)
