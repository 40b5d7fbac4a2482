"""A job with every kind of trial, and what MLflow shows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from service.legs import Leg, LegResult, Measurement, Member, MemberResult, MemberState
from service.store import JobRecord, NewStage, NewTrial, Store
from service.tracking import MlflowFollower, local_artifacts, local_tracking_uri
from service.tracking.describe import TRIAL_TAG

SPEC = {
    "name": "digits",
    "family": "mlp",
    "model": {"norm": "batch"},
    "search": {"strategy": "ladder", "order": ["lr"], "rungs": {"min_epochs": 2}},
    "seed": 7,
}
FINAL: dict[int, tuple[MemberState, int]] = {
    0: ("completed", 6),
    1: ("completed", 5),
    2: ("diverged", 3),
    3: ("failed", 2),
}

BY_CLASS = {
    "test_per_class_f1": {"cat": 0.5, "dog": 0.25},
    "test_confusion_matrix": {"cat": {"cat": 3, "dog": 1}, "dog": {}},
}


RESULT = {
    "best": {"number": 0, "params": {"lr": 1.0, "taper": True, "cap": None}, "metrics": {}, "epoch": 4},
    "test": {"test_accuracy": 0.85},
    "importances": {"lr": 0.75, "taper": 0.25},
    "bundle": "/bundles/digits",
}


def planned_job(store: Store) -> JobRecord:
    job = store.create_job(name="digits", spec=SPEC, spec_fingerprint="f", base_dir="/data", seed=7)
    store.start_job(job.id)
    store.record_plan(
        job.id,
        plan={"stages": ["lr"]},
        stages=[NewStage(number=0, name="lr", opens=("lr",), why="it matters most")],
        metric="val_accuracy",
        mode="max",
        data_fingerprint="d",
    )
    return store.job(job.id)


def ask_round(store: Store, job: JobRecord, number: int = 0, size: int = 6) -> list[int]:
    numbers = list(range(number * size, number * size + size))
    trials = [NewTrial(number=n, params={"lr": 10.0**-n, "taper": True, "cap": None}, seed=n) for n in numbers]
    store.record_round(job.id, stage=0, round_number=number, trials=trials, rungs=[2, 6])
    return numbers


def train(store: Store, job: JobRecord, ends: dict[int, tuple[MemberState, int]], start: int, end: int) -> None:
    members = tuple(
        MemberResult(
            number=number,
            state=state,
            measurements=tuple(
                Measurement(
                    epoch=e, metrics={"val_accuracy": 0.9 - 0.1 * number - 0.01 * abs(e - 4), "val_loss": None}
                )
                for e in range(start + 1, last + 1)
            ),
            message="it raised" if state == "failed" else None,
        )
        for number, (state, last) in ends.items()
    )
    leg = Leg(
        key=f"{min(ends)}-{end}",
        members=tuple(Member(number=m.number, params={}, seed=0) for m in members),
        start_epoch=start,
        end_epoch=end,
    )
    store.record_leg(job.id, leg, LegResult(key=leg.key, members=members, wall_s=4.0), "f")


def train_round(store: Store, job: JobRecord, numbers: list[int]) -> None:
    """All kinds of ends, by place: 0, 1 completed, 2 diverged, 3 failed, 4 stopped, 5 still running."""
    train(store, job, dict.fromkeys(numbers, ("running", 2)), 0, 2)
    store.stop_trials(job.id, [numbers[4]])
    second: dict[int, tuple[MemberState, int]] = {numbers[place]: end for place, end in FINAL.items()}
    train(store, job, second | {numbers[5]: ("running", 6)}, 2, 6)


def finished_job(store: Store, *, num_rounds: int = 1) -> JobRecord:
    job = planned_job(store)
    for number in range(num_rounds):
        train_round(store, job, ask_round(store, job, number))
    store.record_stage_outcome(job.id, 0, {"adopted": True, "gain": 0.25, "why": "trial 0 improves | a lot"})
    store.finish_job(job.id, best_trial=0, result=RESULT)
    store.claim_test_read(job.id, 0)
    store.record_test_metrics(job.id, {"test_accuracy": 0.85, "test_loss": None, **BY_CLASS})
    store.record_export(job.id, 0, "/bundles/digits")
    return store.job(job.id)


def small_job(store: Store) -> JobRecord:
    """Two trials, one leg, one result."""
    job = planned_job(store)
    ask_round(store, job, size=2)
    train(store, job, {0: ("completed", 2), 1: ("running", 2)}, 0, 2)
    store.stop_trials(job.id, [1])
    store.finish_job(job.id, best_trial=0, result={"val_accuracy": 0.9})
    return store.job(job.id)


def follower(store: Store, job: JobRecord, home: Path, **changes: Any) -> MlflowFollower:
    settings = {
        "tracking_uri": local_tracking_uri(home),
        "experiment": "digits",
        "artifacts": local_artifacts(home),
        "interval_s": 0.05,
    }
    return MlflowFollower(store, job.id, **(settings | changes))


def all_runs(home: Path, experiment: str = "digits") -> list[Any]:
    client = MlflowClient(tracking_uri=local_tracking_uri(home))
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id], max_results=5000))


def shown(home: Path, experiment: str = "digits") -> dict[str, Any]:
    """Everything that MLflow shows of the only job of an experiment, run ids aside; 'job' or a trial's number."""
    client = MlflowClient(tracking_uri=local_tracking_uri(home))
    picture: dict[str, Any] = {}
    runs = all_runs(home, experiment)
    (parent,) = [run.info.run_id for run in runs if TRIAL_TAG not in run.data.tags]
    for run in runs:
        tags = dict(run.data.tags)
        label = tags.get(TRIAL_TAG, "job")
        assert label not in picture, f"two runs for {label}"
        assert tags.pop("mlflow.parentRunId", None) == (None if label == "job" else parent)
        histories = {
            key: [(m.value, m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        picture[label] = {
            "params": dict(run.data.params),
            "tags": tags,
            "metrics": {key: sorted(points) for key, points in histories.items()},
            "latest": dict(run.data.metrics),
            "run": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
    return picture
