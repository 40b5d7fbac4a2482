"""Trials that diverge or raise end alone; a job in which all of them do ends failed and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from product import Product, Record

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


def test_an_infinite_loss_in_a_later_epoch_diverges_and_keeps_what_was_measured(shop: Product) -> None:
    space = {"inf_at": {"choices": [1, 2, 99]}}
    spec = shop.write_spec(
        OWN | {"search": OWN["search"] | {"space": space}, "budget": {"epochs": 30, "max_epochs_per_trial": 4}}
    )
    shop.run("run", spec, "--home", "home", "--engine", "local", "--json")
    trials = shop.run("trials", "--home", "home", "--json").json
    assert {(t["params"]["inf_at"], t["state"], t["epochs"]) for t in trials} == {
        (1, "diverged", 2),
        (2, "diverged", 3),
        (99, "completed", 4),
    }


@pytest.mark.parametrize(
    ("range_", "state", "why"),
    [
        ({"low": -2.0, "high": -1.0}, "failed", r"RuntimeError: a rate is positive, got -"),
        ({"low": 1.5, "high": 2.0}, "diverged", r"no trial gave a finite val_loss"),
    ],
    ids=["raise", "diverge"],
)
def test_a_job_in_which_every_trial_fails_says_why(
    range_: dict[str, float], state: str, why: str, shop: Product
) -> None:
    search = OWN["search"] | {"space": {"rate": range_}, "strategy": "ladder"}
    spec = shop.write_spec(OWN | {"search": search, "checks": {"overfit": False}})
    ended = shop.run("run", spec, "--home", "home", "--engine", "local", "--json", code=1)

    assert ended.json["state"] == "failed"
    assert why in ended.json["message"]
    assert ended.err.count("error: ") == 1
    assert f"error: {ended.json['message']}" in ended.err
    assert "Traceback" not in ended.err
    assert Record(shop.folder / "home").states() == ["failed"]
    assert {t["state"] for t in shop.run("trials", "--home", "home", "--json").json} == {state}
    assert why in shop.run("best", "--home", "home", code=2).err


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
