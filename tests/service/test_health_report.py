"""What was bad about a trial's health reaches the result, the list of trials, MLflow, and no bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from service.documents import parse_spec
from service.embedded import run_job
from service.export.metrics import complaints_of
from service.home import Home
from service.seats import RunOptions
from service.store import JobRecord, Store
from service.tracking import local_tracking_uri


def run(home: Path, **changes: Any) -> JobRecord:
    small: dict[str, Any] = {
        "family": "mlp",
        "data": {"name": "wine"},
        "model": {"depth": 10, "norm": "none", "activation": "sigmoid"},
        "checks": {"overfit": False},
        "budget": {"epochs": 4, "max_epochs_per_trial": 2},
    }
    return run_job(parse_spec(small | changes), home=home, options=RunOptions(engine="local"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("health")
    run(folder)
    return folder


def test_the_result_names_what_was_bad_by_trial(home: Path) -> None:
    with Store.open(Home(home).store_url()) as store:
        job = store.jobs()[0]
        assert job.result is not None
        winner = job.result["best"]["number"]
        assert job.result["health"][str(winner)] == complaints_of(store, job.id, [winner])[winner]
        assert any(bad.startswith("vanishing gradient") for bad in job.result["health"][str(winner)])


def test_mlflow_has_the_measures_and_the_complaints(home: Path) -> None:
    client = MlflowClient(tracking_uri=local_tracking_uri(home))
    (experiment,) = [e for e in client.search_experiments() if e.name == "job"]
    runs = client.search_runs([experiment.experiment_id], "tags.`tuneladder.kind` = 'trial'")
    for one in runs:
        assert "vanishing gradient" in one.data.tags["tuneladder.health"]
        assert one.data.metrics["health/gradient_norm/network.output"] > 0


def test_a_bundle_says_nothing_of_it(home: Path) -> None:
    (bundle,) = home.glob("bundles/*")
    metrics = json.loads((bundle / "metrics.json").read_text())
    assert set(metrics["validation"]) == {
        "val_accuracy",
        "val_macro_f1",
        "val_loss",
        "train_loss",
        "lr",
    }


def test_without_it_nothing_is_measured(tmp_path: Path) -> None:
    job = run(tmp_path, checks={"overfit": False, "health": False})
    assert job.result is not None
    assert job.result["health"] == {}
    with Store.open(Home(tmp_path).store_url()) as store:
        measured = store.measurements(job.id, 0)
    assert not any(name.startswith("health/") for one in measured for name in one.metrics)
