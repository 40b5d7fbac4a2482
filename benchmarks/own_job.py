"""The problem as a job of tuneladder's, run by the command that everybody uses."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks import digits_problem as problem
from benchmarks.figures import Figures, last_json_line
from benchmarks.peak_memory import PeakMemory
from benchmarks.wall_clock import TRAINING, Timeline, read_timeline, share_out
from service.home import Home
from service.search.rounds import round_cost, rung_epochs
from service.store import Store
from service.tracking import make_database

EQUAL_COST = {"width": 128, "batch_size": 64}
FEWEST_CANDIDATES, MOST_CANDIDATES = 10, 32  # trials of a round


@dataclass(frozen=True, kw_only=True)
class OwnFigures(Figures):
    """The cost and the result of a job, and where its time went."""

    not_training_share: float
    wall_clock: Mapping[str, float] = field(default_factory=dict)  # part -> share; see benchmarks.wall_clock
    driver_peak_gib: float


@dataclass(frozen=True, kw_only=True)
class OwnRun:
    """What is known of a job that was run."""

    figures: OwnFigures
    timeline: Timeline


def num_candidates(trials: int) -> int:
    """Say how many trials a round has: an eighth of all, within bounds.

    Trials of one shape and one round train as one network, so larger rounds cost less; the search learns between
    rounds, so a small budget is not spent on a few.
    """
    return max(FEWEST_CANDIDATES, min(MOST_CANDIDATES, trials // 8))


def make_spec(*, trials: int, max_epochs: int, strategy: str, equal_cost: bool = False) -> dict[str, Any]:
    """Write the problem as a spec whose budget holds about so many trials.

    Without early stopping the budget is used up by whole rounds; patience saves epochs, and the search
    spends them on further trials, so the job's own count is what is reported.

    Args:
        trials: About how many.
        max_epochs: Of a trial.
        strategy: Of the search.
        equal_cost: Fix what decides how much an epoch computes. Else a search that finds wide networks and small
            batches to be good has slower trials in the end than in the beginning.
    """
    fixed = problem.FIXED | (EQUAL_COST if equal_cost else {})
    candidates = num_candidates(trials)
    first_rung = min(problem.GRACE_EPOCHS, max_epochs)
    rungs = rung_epochs(min_epochs=first_rung, max_epochs=max_epochs, reduction_factor=problem.REDUCTION_FACTOR)
    full, rest = divmod(trials, candidates)
    epochs = full * round_cost(candidates, rungs, problem.REDUCTION_FACTOR)
    epochs += round_cost(rest, rungs, problem.REDUCTION_FACTOR) if rest else 0
    return {
        "name": "digits-orchestration",
        "family": "mlp",
        "data": {
            "name": "digits",
            "validation_fraction": problem.VALIDATION_FRACTION,
            "test_fraction": problem.TEST_FRACTION,
        },
        "model": fixed,
        "objective": {"metric": problem.METRIC, "mode": "max"},
        "search": {
            "strategy": strategy,
            "space": {name: body for name, body in problem.SPACE.items() if name not in fixed},
            "candidates": candidates,
            "rungs": {"min_epochs": first_rung, "reduction_factor": problem.REDUCTION_FACTOR},
        },
        "budget": {"epochs": epochs, "max_epochs_per_trial": max_epochs},
        "early_stopping": {"patience": problem.PATIENCE},
        "resources": {"cpu": 1},
        "seed": 0,
    }


def run_tuneladder(
    *, trials: int, workers: int, max_epochs: int, strategy: str, equal_cost: bool = False
) -> OwnRun:
    """Run the problem, and read from its record where its time went.

    Raises:
        RuntimeError: The job did not complete.
    """
    spec = make_spec(trials=trials, max_epochs=max_epochs, strategy=strategy, equal_cost=equal_cost)
    command = Path(sys.executable).with_name("tuneladder")
    memory: list[PeakMemory] = []

    def watch(pid: int) -> PeakMemory:
        memory.append(PeakMemory(pid))
        return memory[0]

    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        home = Path(folder) / "home"
        make_database(home / "mlflow.db")  # before the clock starts, as for the other stacks
        result = last_json_line(
            [
                *(str(command), "run", str(path), "--home", str(home)),
                *("--engine", "ray", "--slots", str(workers), "--json"),
            ],
            watch=watch,
        )
        if result["state"] != "completed":
            raise RuntimeError(f"the job must end completed, got {result['state']!r}: {result}")
        with Store.open(Home(home).store_url()) as store:
            timeline = read_timeline(store, result["job_id"], num_slots=workers)
    shares = share_out(timeline)
    figures = OwnFigures(
        wall_s=result["wall_s"],  # the start of Ray is not in it
        trials=result["num_trials"],
        epochs=result["num_epochs"],
        best=result["best"]["metrics"][problem.METRIC],
        not_training_share=1.0 - shares[TRAINING],
        wall_clock=shares,
        driver_peak_gib=memory[0].gib,
    )
    return OwnRun(figures=figures, timeline=timeline)
