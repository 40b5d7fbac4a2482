"""What the tracking server is told about a job and its trials: names and texts, from records alone.

Everything here is a function of what is on record, so that saying it twice says the same.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from lightning_modules.health import complaints
from service.store import (
    ExportRecord,
    JobRecord,
    JobState,
    ProbeRecord,
    StageRecord,
    TestRead,
    TimedMeasurement,
    TrialRecord,
    TrialState,
)

PREFIX = "tuneladder."
JOB_TAG, KIND_TAG, TRIAL_TAG = PREFIX + "job_id", PREFIX + "kind", PREFIX + "trial"
_UNNAMEABLE = re.compile(r"[^\w\-./ :]")  # what MLflow refuses in a name

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

JOB_STATUS: Mapping[JobState, RunStatus] = {
    JobState.QUEUED: "SCHEDULED",
    JobState.RUNNING: "RUNNING",
    JobState.PAUSED: "SCHEDULED",
    JobState.COMPLETED: "FINISHED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "KILLED",
}
TRIAL_STATUS: Mapping[TrialState, RunStatus] = {
    TrialState.PENDING: "RUNNING",  # as MLflow makes a run
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.STOPPED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
    TrialState.CANCELLED: "KILLED",
}
HALTED_STATUS: Mapping[JobState, RunStatus] = {  # of trials that are not finished when their job halts
    JobState.PAUSED: "SCHEDULED",
    JobState.FAILED: "KILLED",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric: MLflow takes the same point again as the one that it has."""

    key: str
    value: float
    step: int
    timestamp_ms: int


def milliseconds(moment: datetime) -> int:
    """Count milliseconds since 1970, as MLflow does."""
    return round(moment.timestamp() * 1000)


def name(text: str) -> str:
    """Make a text that MLflow takes as a name: a metric `val@5` becomes `val_5`."""
    return _UNNAMEABLE.sub("_", text)


def value(thing: object) -> str:
    """Write a parameter's value: texts as they are, all else as JSON."""
    return thing if isinstance(thing, str) else json.dumps(thing)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested mappings into dotted names: {"a": {"b": 1}} becomes {"a.b": "1"}."""
    leaves: dict[str, str] = {}
    for key, thing in tree.items():
        path = name(f"{prefix}{key}")
        if isinstance(thing, Mapping) and thing:
            leaves |= flat(thing, f"{path}.")
        else:
            leaves[path] = value(thing)
    return leaves


def job_params(job: JobRecord) -> dict[str, str]:
    """List a job's parameters: its whole spec, and what the plan made of the objective."""
    leaves = flat(job.spec)
    if job.metric is not None and job.mode is not None:
        leaves |= {"objective.metric": job.metric, "objective.mode": job.mode}
    return leaves


def job_tags(job: JobRecord) -> dict[str, str]:
    """List the tags of a job that never change."""
    family = job.spec.get("family", "")
    search = job.spec.get("search", {})
    return {
        JOB_TAG: job.id,
        KIND_TAG: "job",
        PREFIX + "name": job.name,
        PREFIX + "family": str(family["module"]) if isinstance(family, Mapping) else str(family),
        PREFIX + "strategy": str(search.get("strategy", "")) if isinstance(search, Mapping) else "",
        PREFIX + "seed": str(job.seed),
        PREFIX + "spec_fingerprint": job.spec_fingerprint,
        PREFIX + "data_fingerprint": job.data_fingerprint or "",
    }


def job_state_tags(job: JobRecord) -> dict[str, str]:
    """List the tags of a job that say how far it has come."""
    tags = {PREFIX + "state": str(job.state)}
    if job.message is not None:
        tags[PREFIX + "message"] = job.message
    if job.best_trial is not None:
        tags[PREFIX + "best_trial"] = str(job.best_trial)
    return tags


def trial_params(job: JobRecord, trial: TrialRecord) -> dict[str, str]:
    """List a trial's parameters: its own over the model's fixed settings."""
    fixed = job.spec.get("model", {})
    return flat({**(fixed if isinstance(fixed, Mapping) else {}), **trial.params})


def trial_tags(job: JobRecord, trial: TrialRecord, stages: Sequence[StageRecord]) -> dict[str, str]:
    """List the tags of a trial that never change."""
    stage = next((stage.name for stage in stages if stage.number == trial.stage), "")
    return {
        JOB_TAG: job.id,
        KIND_TAG: "trial",
        TRIAL_TAG: str(trial.number),
        PREFIX + "stage": str(trial.stage),
        PREFIX + "stage_name": stage,
        PREFIX + "round": str(trial.round),
        PREFIX + "seed": str(trial.seed),
    }


def trial_state_tags(trial: TrialRecord) -> dict[str, str]:
    """List the tags of a trial that say how far it has come."""
    tags = {PREFIX + "state": str(trial.state), PREFIX + "epochs": str(trial.epochs)}
    if trial.best_epoch is not None:
        tags[PREFIX + "best_epoch"] = str(trial.best_epoch)
    if trial.message is not None:
        tags[PREFIX + "message"] = trial.message
    return tags


def trial_points(trial: TrialRecord) -> list[Point]:
    """Say the trial's best value once it has ended, so that runs can be sorted by it."""
    if trial.ended_at is None or trial.best_value is None or trial.best_epoch is None:
        return []
    moment = milliseconds(trial.ended_at)
    return [Point(key="best_value", value=trial.best_value, step=trial.best_epoch, timestamp_ms=moment)]


def epoch_points(measurements: Iterable[TimedMeasurement]) -> list[Point]:
    """Turn measurements into points, with the epoch as step; values that are not finite have none."""
    return [
        Point(key=name(key), value=number, step=one.epoch, timestamp_ms=milliseconds(one.measured_at))
        for one in measurements
        for key, number in one.metrics.items()
        if number is not None
    ]


def incumbent_points(trials: Iterable[TrialRecord], mode: str | None) -> list[Point]:
    """Draw the job's curve: the best value of a completed trial so far, after each trial that ended.

    The step counts the epochs of all trials that had ended by then. Trials that ended before any completed make no
    point, and the curve of a growing job only grows at its end.
    """
    ended = sorted((t.ended_at, t.number, t) for t in trials if t.ended_at is not None)
    points: list[Point] = []
    epochs, best = 0, None
    for moment, _, trial in ended:
        epochs += trial.epochs
        if trial.state is TrialState.COMPLETED and trial.best_value is not None:
            better = max if mode == "max" else min
            best = trial.best_value if best is None else better(best, trial.best_value)
        if best is not None:
            points.append(Point(key="best_value", value=best, step=epochs, timestamp_ms=milliseconds(moment)))
    return points


def test_points(read: TestRead | None) -> list[Point]:
    """Turn the metrics of the test split into points of the job; those of classes are named `metric/class`.

    A confusion matrix makes no points: it is in the bundle.
    """
    if read is None or read.metrics is None:
        return []
    moment = milliseconds(read.claimed_at)
    numbers: dict[str, Any] = {}
    for key, thing in read.metrics.items():
        numbers |= (
            {f"{key}/{part}": n for part, n in thing.items()} if isinstance(thing, Mapping) else {key: thing}
        )
    return [
        Point(key=name(key), value=float(number), step=0, timestamp_ms=moment)
        for key, number in numbers.items()
        if isinstance(number, int | float)
    ]


def importance_points(job: JobRecord) -> list[Point]:
    """Turn the shares of the hyperparameters (PED-ANOVA) into points of a job that has ended."""
    if job.ended_at is None or job.result is None:
        return []
    moment = milliseconds(job.ended_at)
    shares: Mapping[str, float] = job.result.get("importances") or {}
    return [
        Point(key=f"importance/{name(key)}", value=share, step=0, timestamp_ms=moment)
        for key, share in shares.items()
    ]


def lr_range_points(probes: Iterable[ProbeRecord]) -> list[Point]:
    """Turn a range test into points of the job, by step: the learning rate, and each seed's loss."""
    points: list[Point] = []
    for number, probe in enumerate(probes):
        moment = milliseconds(probe.recorded_at)
        columns = {f"lr_range_test/loss_{number}": (probe.report or {})["loss"]}
        if number == 0:
            columns["lr_range_test/lr"] = (probe.report or {})["lr"]
        points += [
            Point(key=key, value=value_, step=step, timestamp_ms=moment)
            for key, column in columns.items()
            for step, value_ in enumerate(column)
            if value_ is not None
        ]
    return points


def health_tags(measurements: Iterable[TimedMeasurement]) -> dict[str, str]:
    """Say what was bad about a trial's health; no tag where all was well."""
    bad = complaints(one.metrics for one in measurements)
    return {PREFIX + "health": "\n".join(bad)} if bad else {}


def export_tags(exports: Sequence[ExportRecord]) -> dict[str, str]:
    """Say where the newest bundle lies."""
    written = [export.path for export in exports if export.path is not None]
    return {PREFIX + "bundle": str(written[-1])} if written else {}


def trials_csv(trials: Sequence[TrialRecord]) -> str:
    """Write the trials as a table, a column for each parameter."""
    params = sorted({key for trial in trials for key in trial.params})
    fixed = ["number", "stage", "round", "state", "epochs", "best_epoch", "best_value", "message"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*fixed, *(f"params.{key}" for key in params)])
    for trial in trials:
        own = [value(trial.params[key]) if key in trial.params else "" for key in params]
        table.writerow([*(getattr(trial, column) for column in fixed), *own])
    return text.getvalue()
