"""Trials that diverge or raise end alone; a job in which all of them do ends failed and says why."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import Answer, Command

PEOPLE = Path(__file__).parents[1] / "acceptance" / "people.py"
OWN: dict[str, Any] = {
    "name": "own",
    "family": {"module": "people:Line"},
    "data": {"module": "people:Points", "params": {"num_rows": 90}},
    "objective": {"metric": "val_loss"},
    "search": {
        "strategy": "random",
        "candidates": 9,
        "rungs": {"min_epochs": 2, "reduction_factor": 2},
    },
    "budget": {"epochs": 60, "max_epochs_per_trial": 4},
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder in which commands are typed, with a person's own code."""
    shutil.copy(PEOPLE, tmp_path)
    return tmp_path


def run(tuneladder: Command, shop: Path, spec: dict[str, Any]) -> Answer:
    (shop / "spec.yaml").write_text(yaml.safe_dump(spec))
    return tuneladder("run", "spec.yaml", "--home", "home", "--engine", "local", "--json")


def last_line(answer: Answer) -> Any:
    return json.loads(answer.out.splitlines()[-1])


def trials_of(tuneladder: Command) -> Any:
    listed = tuneladder("trials", "--home", "home", "--json")
    assert listed.code == 0, listed.err
    return last_line(listed)


def job_states(home: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{home / 'tuneladder.db'}?mode=ro", uri=True)) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM jobs ORDER BY id")]


def test_trials_that_diverge_or_raise_end_alone_and_the_job_goes_on(tuneladder: Command, shop: Path) -> None:
    ended = run(
        tuneladder, shop, OWN | {"search": OWN["search"] | {"space": {"rate": {"low": -1.0, "high": 2.0}}}}
    )
    assert ended.code == 0, ended.err
    result, trials = last_line(ended), trials_of(tuneladder)

    assert result["state"] == "completed"
    assert 0 < result["best"]["params"]["rate"] <= 1
    states = {state: [t for t in trials if t["state"] == state] for state in ("diverged", "failed", "completed")}
    assert all(states.values())
    assert all(trial["params"]["rate"] > 1 and not trial["metrics"] for trial in states["diverged"])
    for trial in states["failed"]:
        rate = trial["params"]["rate"]
        assert rate < 0
        assert trial["message"] == f"RuntimeError: a rate is positive, got {rate:.1f} (in __init__, people.py:21)"


def test_an_infinite_loss_in_a_later_epoch_diverges_and_keeps_what_was_measured(
    tuneladder: Command, shop: Path
) -> None:
    search = OWN["search"] | {"space": {"inf_at": {"choices": [1, 2, 99]}}}
    ended = run(tuneladder, shop, OWN | {"search": search, "budget": {"epochs": 30, "max_epochs_per_trial": 4}})
    assert ended.code == 0, ended.err
    assert {(t["params"]["inf_at"], t["state"], t["epochs"]) for t in trials_of(tuneladder)} == {
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
    range_: dict[str, float], state: str, why: str, tuneladder: Command, shop: Path
) -> None:
    search = OWN["search"] | {"space": {"rate": range_}, "strategy": "ladder"}
    ended = run(tuneladder, shop, OWN | {"search": search, "checks": {"overfit": False}})
    assert ended.code == 1
    result = last_line(ended)

    assert result["state"] == "failed"
    assert why in result["message"]
    assert ended.err.count("error: ") == 1
    assert f"error: {result['message']}" in ended.err
    assert "Traceback" not in ended.err
    assert job_states(shop / "home") == ["failed"]
    assert {t["state"] for t in trials_of(tuneladder)} == {state}
    best = tuneladder("best", "--home", "home")
    assert best.code == 2
    assert why in best.err
