"""What orchestration costs: seconds per trial-epoch of tuneladder and of the stacks it wants to replace.

    python -m benchmarks.orchestration --trials 20 --json

Runs the same problem (`benchmarks.digits_problem`: ranges, rows, epochs, rungs, patience, workers, metric)
through the stack from the documentation, plain and with `reuse_actors`, and through `tuneladder run`, one
after the other, each in a process of its own. The last line of standard output is

    {"seconds_per_trial_epoch": {"plain": ..., "reuse": ..., "tuneladder": ...},
     "ratio": {"plain": ..., "reuse": ...}, "figures": {...}, "settings": {...}}

where a ratio is theirs over ours. The clock holds worker starts, training, search and tracking; it leaves out
`ray.init`, the driver's imports and the creation of MLflow's tables for all, and counts tuneladder's overfit
check, its test of the winner and its bundle, which the others do not make. tuneladder's slots begin to start while
its driver still imports, about a second before its clock: the others know their workers later.

Two processes with a shared Optuna study (`benchmarks.optuna_processes`) join with `--with-optuna-processes`,
and without being asked from 100 trials on: that is where a comparison without worker starts begins to matter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks import digits_problem as problem
from benchmarks.figures import Figures, last_json_line
from service.search.rounds import round_cost, rung_epochs
from service.tracking import make_database

CANDIDATES = 10  # trials of one of tuneladder's rounds
OPTUNA_PROCESSES_FROM = 100  # trials
OURS = "tuneladder"


def make_spec(*, trials: int, max_epochs: int, strategy: str) -> dict[str, Any]:
    """Write the problem as a spec whose budget holds about so many trials.

    Without early stopping the budget is used up by whole rounds; patience saves epochs, and the search
    spends them on further trials, so the job's own count is what is reported.
    """
    first_rung = min(problem.GRACE_EPOCHS, max_epochs)
    rungs = rung_epochs(min_epochs=first_rung, max_epochs=max_epochs, reduction_factor=problem.REDUCTION_FACTOR)
    full, rest = divmod(trials, CANDIDATES)
    epochs = full * round_cost(CANDIDATES, rungs, problem.REDUCTION_FACTOR)
    epochs += round_cost(rest, rungs, problem.REDUCTION_FACTOR) if rest else 0
    return {
        "name": "digits-orchestration",
        "family": "mlp",
        "data": {
            "name": "digits",
            "validation_fraction": problem.VALIDATION_FRACTION,
            "test_fraction": problem.TEST_FRACTION,
        },
        "model": problem.FIXED,
        "objective": {"metric": problem.METRIC, "mode": "max"},
        "search": {
            "strategy": strategy,
            "space": problem.SPACE,
            "candidates": CANDIDATES,
            "rungs": {"min_epochs": first_rung, "reduction_factor": problem.REDUCTION_FACTOR},
        },
        "budget": {"epochs": epochs, "max_epochs_per_trial": max_epochs},
        "early_stopping": {"patience": problem.PATIENCE},
        "resources": {"cpu": 1},
        "seed": 0,
    }


def run_tuneladder(*, trials: int, workers: int, max_epochs: int, strategy: str) -> Figures:
    """Run the problem through the command that everybody uses.

    Raises:
        RuntimeError: The job did not complete.
    """
    spec = make_spec(trials=trials, max_epochs=max_epochs, strategy=strategy)
    command = Path(sys.executable).with_name("tuneladder")
    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        home = Path(folder) / "home"
        make_database(home / "mlflow.db")  # before the clock starts, as for the other stacks
        result = last_json_line(
            [
                *(str(command), "run", str(path), "--home", str(home)),
                *("--engine", "ray", "--slots", str(workers), "--json"),
            ]
        )
    if result["state"] != "completed":
        raise RuntimeError(f"the job must end completed, got {result['state']!r}: {result}")
    return Figures(
        wall_s=result["wall_s"],  # the start of Ray is not in it
        trials=result["num_trials"],
        epochs=result["num_epochs"],
        best=result["best"]["metrics"][problem.METRIC],
    )


def _run_module(name: str, *arguments: str) -> Figures:
    return Figures.from_dict(last_json_line([sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json"]))


def _stacks(chosen: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    sizes = (
        *("--trials", str(chosen.trials), "--workers", str(chosen.workers)),
        *("--max-epochs", str(chosen.max_epochs)),
    )
    checkpoints = ("--no-checkpoints",) if chosen.no_checkpoints else ()
    stacks: dict[str, Callable[[], Figures]] = {
        "plain": lambda: _run_module("plain_stack", "--variant", "plain", *sizes, *checkpoints),
        "reuse": lambda: _run_module("plain_stack", "--variant", "reuse", *sizes, *checkpoints),
    }
    if chosen.with_optuna_processes or chosen.trials >= OPTUNA_PROCESSES_FROM:
        stacks["optuna_processes"] = lambda: _run_module("optuna_processes", *sizes)
    stacks[OURS] = lambda: run_tuneladder(
        trials=chosen.trials,
        workers=chosen.workers,
        max_epochs=chosen.max_epochs,
        strategy=chosen.strategy,
    )
    wanted = chosen.only.split(",") if chosen.only else list(stacks)
    unknown = sorted(set(wanted) - set(stacks))
    if unknown:
        raise SystemExit(f"--only names stacks out of {', '.join(stacks)}, got {', '.join(unknown)}")
    return {name: run for name, run in stacks.items() if name in wanted}


def compare(runs: dict[str, list[Figures]]) -> dict[str, Any]:
    """Turn each stack's runs into a rate (the median) and a ratio (theirs over ours)."""
    rates = {
        name: statistics.median(figures.seconds_per_trial_epoch for figures in repeated)
        for name, repeated in runs.items()
    }
    ratio = {name: rate / rates[OURS] for name, rate in rates.items() if OURS in rates and name != OURS}
    figures = {name: [run.to_dict() for run in repeated] for name, repeated in runs.items()}
    return {"seconds_per_trial_epoch": rates, "ratio": ratio, "figures": figures}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.orchestration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=problem.WORKERS)
    parser.add_argument("--max-epochs", type=int, default=problem.MAX_EPOCHS)
    parser.add_argument("--strategy", choices=["joint", "ladder"], default="joint", help="tuneladder's")
    parser.add_argument("--with-optuna-processes", action="store_true", help="also below 100 trials")
    parser.add_argument("--no-checkpoints", action="store_true", help="plain stack without checkpoints")
    parser.add_argument("--only", default="", help="stacks to run, such as plain,tuneladder")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each stack in turn; medians count")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name in ("trials", "workers", "max_epochs", "repeats"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is at least 1, got {getattr(chosen, name)}")
    return chosen


def main(arguments: list[str] | None = None) -> None:
    """Run every stack and print the comparison."""
    chosen = _parse(arguments)
    stacks = _stacks(chosen)
    runs: dict[str, list[Figures]] = {name: [] for name in stacks}
    for repeat in range(chosen.repeats):
        for name, run in stacks.items():
            print(f"[{repeat + 1}/{chosen.repeats}] {name}: {chosen.trials} trials ...", file=sys.stderr)
            figures = run()
            runs[name].append(figures)
            print(
                f"[{repeat + 1}/{chosen.repeats}] {name}: {figures.trials} trials, {figures.epochs} epochs, "
                f"{figures.wall_s:.1f} s, {figures.seconds_per_trial_epoch:.4f} s per trial-epoch, "
                f"best {figures.best:.4f}",
                file=sys.stderr,
            )
    comparison = compare(runs)
    settings = {key: value for key, value in vars(chosen).items() if key != "json"}
    for name, ratio in comparison["ratio"].items():
        print(f"{name} takes {ratio:.1f} times as long per trial-epoch as {OURS}", file=sys.stderr)
    if chosen.json:
        print(json.dumps(comparison | {"settings": settings | {"cores": os.cpu_count()}}))
    else:
        for name, rate in comparison["seconds_per_trial_epoch"].items():
            print(f"{name:>18}  {rate:.4f} s per trial-epoch")


if __name__ == "__main__":
    main()
