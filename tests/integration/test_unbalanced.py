"""Unbalanced classes: an objective that counts them equally, weights in the loss, and a report for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from in_process import Command
from sklearn import metrics as reference

from service.export import load_bundle

Run = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


def rows(num_rows: int, seed: int) -> pd.DataFrame:
    """One row in twelve is of the rare class, and overlaps with the others: to guess it is rarely right."""
    draw = np.random.default_rng(seed)
    rare = np.arange(num_rows) % 12 == 0
    return pd.DataFrame({"x": draw.normal(size=num_rows) + 1.2 * rare, "kind": np.where(rare, "rare", "common")})


@pytest.fixture
def run(tuneladder: Command, tmp_path: Path) -> Run:
    rows(600, 1).to_csv(tmp_path / "rows.csv", index=False)
    rows(600, 2).to_csv(tmp_path / "test.csv", index=False)

    def run(metric: str, **model: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        spec = {
            "family": "mlp",
            "data": {"csv": "rows.csv", "target": "kind", "test": "test.csv"},
            "model": {"width": 16, "dropout": 0.0, "lr": 0.01, **model},
            "objective": {"metric": metric},
            "search": {"strategy": "random"},
            "budget": {"epochs": 16, "max_epochs_per_trial": 4},
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
        ended = tuneladder("run", "spec.yaml", "--home", "home", "--engine", "local", "--json")
        assert ended.code == 0, ended.err
        result = json.loads(ended.out.splitlines()[-1])
        trials = json.loads(tuneladder("trials", "--home", "home", "--json").out)
        return result, trials

    return run


def test_macro_f1_and_balanced_weights_find_the_rare_class(run: Run) -> None:
    plain, _ = run("val_accuracy")
    weighted, trials = run("val_macro_f1", class_weights="balanced")
    by_name, _ = run("val_macro_f1", class_weights={"rare": 11})

    assert plain["test"]["test_accuracy"] > 0.9
    assert plain["test"]["test_per_class_f1"]["rare"] < 0.1
    for result in (weighted, by_name):
        assert result["test"]["test_per_class_f1"]["rare"] > 0.2
        assert result["test"]["test_macro_f1"] > plain["test"]["test_macro_f1"]
    whole = [trial for trial in trials if trial["state"] == "completed"]
    best = max(whole, key=lambda trial: trial["metrics"]["val_macro_f1"])
    assert weighted["best"]["metrics"]["val_macro_f1"] == best["metrics"]["val_macro_f1"]


def test_a_bundle_reports_each_class_as_scikit_learn_does(run: Run, tmp_path: Path) -> None:
    result, trials = run("val_auroc", class_weights="balanced")
    bundle = load_bundle(result["bundle"])
    test = rows(600, 2)
    predicted, scores = bundle.predict(test[["x"]]), bundle.predict_scores(test[["x"]])
    report = bundle.metrics["test"]

    assert report == result["test"]
    assert report["test_auroc"] == pytest.approx(reference.roc_auc_score(test["kind"] == "rare", scores[:, 1]))
    assert report["test_macro_f1"] == pytest.approx(reference.f1_score(test["kind"], predicted, average="macro"))
    f1 = reference.f1_score(test["kind"], predicted, average=None, labels=["common", "rare"])
    assert list(report["test_per_class_f1"].values()) == pytest.approx(list(f1))
    counts = reference.confusion_matrix(test["kind"], predicted, labels=["common", "rare"])
    matrix = report["test_confusion_matrix"]
    assert [[matrix[t].get(p, 0) for p in ("common", "rare")] for t in ("common", "rare")] == counts.tolist()
    assert all(0 <= trial["metrics"]["val_auroc"] <= 1 for trial in trials)
    assert bundle.settings["class_weights"] == "balanced"
