"""Trials that diverge or raise end alone, and a module is mended between two commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from product import Product

OWN: dict[str, Any] = {
    "name": "own",
    "family": {"module": "people:Line"},
    "data": {"module": "people:Points", "params": {"num_rows": 90}},
    "objective": {"metric": "val_loss"},
    "search": {
        "strategy": "random",
        "space": {"rate": {"low": -1.0, "high": 2.0}},
        "candidates": 9,
        "rungs": {"min_epochs": 2, "reduction_factor": 2},
    },
    "budget": {"epochs": 60, "max_epochs_per_trial": 4},
}


@pytest.fixture
def shop(product: Product) -> Product:
    """A folder with a person's own code, in which commands are typed."""
    (product.folder / "people.py").write_text(Path(__file__).with_name("people.py").read_text())
    return product


def test_trials_that_diverge_or_raise_end_alone_and_the_job_goes_on(shop: Product) -> None:
    spec = shop.write_spec(OWN)
    ended = shop.run("run", spec, "--home", "home", "--json")
    trials = shop.run("trials", "--home", "home", "--json").json

    assert ended.json["state"] == "completed"
    assert 0 < ended.json["best"]["params"]["rate"] <= 1
    states = {state: [t for t in trials if t["state"] == state] for state in ("diverged", "failed", "completed")}
    assert all(states.values())
    assert all(trial["params"]["rate"] > 1 and not trial["metrics"] for trial in states["diverged"])
    for trial in states["failed"]:
        rate = trial["params"]["rate"]
        assert rate < 0
        assert trial["message"] == f"RuntimeError: a rate is positive, got {rate:.1f} (in __init__, people.py:21)"
    ended.assert_nothing_runs()


def test_a_mended_module_runs_where_it_failed_before(shop: Product) -> None:
    """A failed job is over: the same command, after the person mended the code, is a new one."""
    code = shop.folder / "people.py"
    good = code.read_text()
    code.write_text(good.replace("self.line = nn.Linear(2, 1)", "self.line = nn.Linear(2, 1) / 0"))
    spec = shop.write_spec(OWN | {"search": OWN["search"] | {"space": {"rate": {"low": 0.01, "high": 0.2}}}})
    arguments = ["run", spec, "--home", "home", "--engine", "local", "--json"]
    failed = shop.run(*arguments, code=1)
    code.write_text(good)
    ended = shop.run(*arguments)
    assert ended.json["state"] == "completed"
    assert ended.json["job_id"] != failed.json["job_id"]
