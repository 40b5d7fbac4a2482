"""From a job's record to its winner's bundle."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from service.catalog import ResolvedJob
from service.export.bundle import BundleContents, write_bundle
from service.export.metrics import best_metrics
from service.start import START_FROM
from service.store import CheckpointFiles, Store, TrialRecord, TrialState

_PACKAGES = (
    "tuneladder",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "ray",
    "optuna",
    "mlflow",
    "sqlalchemy",
    "numpy",
    "scikit-learn",
)


def export_trial(
    store: Store,
    checkpoints: CheckpointFiles,
    job_id: str,
    number: int,
    resolved: ResolvedJob,
    *,
    settings: Mapping[str, Any],
    folder: Path,
    replace: bool,
    formats: Sequence[str] | None = None,
) -> Path:
    """Write a trial's bundle from the record; the test split is not touched, its metrics are on record.

    That it was written is for the caller to record.

    Args:
        store: The record.
        checkpoints: Where the trial's last checkpoint lies.
        job_id: The job.
        number: The trial.
        resolved: The job's spec with its data.
        settings: What the module is built from.
        folder: Where the bundle goes.
        replace: Whether a bundle that stands there gives way.
        formats: Files beside the checkpoint; those of the spec by default.

    Raises:
        ConflictError: Something stands at `folder`.
        NotFoundError: The checkpoint is gone.
    """
    trial = store.trial(job_id, number)
    read = store.test_read(job_id)
    contents = BundleContents(
        family=resolved.spec.family_name,
        settings=settings,
        info=resolved.data.info if resolved.data else None,
        preprocessing=resolved.data.preprocessing if resolved.data else {},
        checkpoint=checkpoints.read(job_id, number, trial.epochs),
        spec=resolved.spec.model_dump(mode="json"),
        metrics={
            "best_epoch": trial.best_epoch,
            "validation": validation_metrics(store, job_id, trial, resolved),
            "test": dict(read.metrics or {}) if read and read.trial == number else None,
        },
        lineage=_lineage(store, job_id, trial, resolved),
        environment=environment(),
        formats=resolved.spec.export.formats if formats is None else formats,
    )
    return write_bundle(contents, folder, replace=replace)


def validation_metrics(
    store: Store, job_id: str, trial: TrialRecord, resolved: ResolvedJob
) -> dict[str, float | None]:
    """Give a trial's metrics at its best epoch, and for texts the share of unknown words that they stand on."""
    metrics = best_metrics(store, job_id, [trial.number])[trial.number]
    ratio = resolved.data.validation.unknown_ratio if resolved.data else None
    return metrics if ratio is None else {**metrics, "val_unknown_ratio": ratio}


def _lineage(store: Store, job_id: str, trial: TrialRecord, resolved: ResolvedJob) -> dict[str, Any]:
    spec = resolved.spec
    earlier = [t for t in store.trials(job_id) if t.state is TrialState.COMPLETED and t.best_value is not None]
    incumbents: list[TrialRecord] = []
    sign = 1 if resolved.mode == "min" else -1
    for candidate in earlier:
        if not incumbents or sign * (candidate.best_value or 0) < sign * (incumbents[-1].best_value or 0):
            incumbents.append(candidate)
    return {
        "job_id": job_id,
        "job_name": spec.name,
        "trial": trial.number,
        "stage": trial.stage,
        "round": trial.round,
        "params": dict(trial.params),
        "job_seed": spec.seed,
        "trial_seed": trial.seed,
        "split_seed": getattr(spec.data, "split_seed", None),
        "spec_fingerprint": spec.fingerprint(),
        "data_fingerprint": resolved.data_fingerprint,
        "start_from": _start_from(resolved),
        "objective": {"metric": resolved.metric, "mode": resolved.mode, "value": trial.best_value},
        "incumbents": [{"trial": t.number, "stage": t.stage, "value": t.best_value} for t in incumbents],
    }


def _start_from(resolved: ResolvedJob) -> dict[str, Any] | None:
    if resolved.start is None:
        return None
    return {"path": resolved.spec.model[START_FROM], "fingerprint": resolved.start.fingerprint}


def environment() -> dict[str, Any]:
    """Name the versions that a result was made with."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": packages,
    }
