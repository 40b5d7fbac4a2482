"""The ladder on real trainings: `ladder` and `joint` with the same epochs, where replayed curves end.

    TUNELADDER_DATA=../shared/data python -m benchmarks.real_check --json

Digits with the mlp family and TREC's questions with the rnn family (`TUNELADDER_DATA` holds them): each strategy
with each seed, in this process. Large validation splits and the cross entropy as the objective tell searches apart
where the accuracy of all winners is the same. The last line of standard output is

    {"jobs": [{"data": ..., "strategy": ..., "seed": ..., "val_loss": ..., "val_accuracy": ...,
               "test_accuracy": ..., "trials": ..., "epochs": ..., "wall_s": ...}, ...],
     "mean": {data: {strategy: {"val_loss": ..., "val_accuracy": ..., "test_accuracy": ...}}}}

where `val_loss` is the winner's at its best epoch, which is what the search was asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.documents import parse_spec
from service.embedded import run_job
from service.seats import RunOptions
from service.spec import Spec

DATA_FOLDER = Path(os.environ.get("TUNELADDER_DATA", "../shared/data"))
STRATEGIES = ("ladder", "joint")
VALUES = ("val_loss", "val_accuracy", "test_accuracy")


def digits(folder: Path) -> dict[str, Any]:
    """Write the mlp family's job: its whole space, 24 trainings of 20 epochs."""
    return {
        "family": "mlp",
        "data": {"name": "digits", "validation_fraction": 0.3, "test_fraction": 0.3},
        "budget": {"epochs": 480, "max_epochs_per_trial": 20},
    }


def trec(folder: Path) -> dict[str, Any]:
    """Write the rnn family's job: narrow networks and a third of the questions, 20 trainings of 8 epochs."""
    return {
        "family": "rnn",
        "data": {
            "text": str(folder / "trec" / "train_5500.label"),
            "encoding": "latin-1",
            "validation_fraction": 0.3,
            "test_fraction": 0.4,
            "max_length": 20,
        },
        "search": {
            "space": {"width": {"choices": [16, 32, 64]}, "embedding_dim": {"choices": [32, 64, 128]}},
        },
        "budget": {"epochs": 160, "max_epochs_per_trial": 8},
    }


PROBLEMS = {"digits": digits, "trec": trec}


def write_spec(data: str, strategy: str, seed: int, *, folder: Path) -> Spec:
    """Write one job; strategies differ in their name alone."""
    body = PROBLEMS[data](folder)
    return parse_spec(
        body
        | {
            "name": f"{data}-{strategy}-{seed}",
            "search": body.get("search", {}) | {"strategy": strategy},
            "objective": {"metric": "val_loss", "mode": "min"},
            "early_stopping": {"patience": None},
            "resources": {"cpu": 1},
            "seed": seed,
        }
    )


def run(data: str, strategy: str, seed: int, *, folder: Path, home: Path) -> dict[str, Any]:
    """Run one job and give its row."""
    spec = write_spec(data, strategy, seed, folder=folder)
    start = time.perf_counter()
    record = run_job(spec, home=home, options=RunOptions(engine="local"))
    result = record.result or {}
    return {
        "data": data,
        "strategy": strategy,
        "seed": seed,
        "val_loss": result["best"]["metrics"]["val_loss"],
        "val_accuracy": result["best"]["metrics"]["val_accuracy"],
        "test_accuracy": result["test"]["test_accuracy"],
        "trials": result["num_trials"],
        "epochs": result["num_epochs"],
        "wall_s": time.perf_counter() - start,
    }


def summarize(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Give the means over the seeds, by data and strategy."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for job in jobs:
        groups.setdefault(job["data"], {}).setdefault(job["strategy"], []).append(job)
    return {
        data: {
            strategy: {name: statistics.mean(job[name] for job in rows) for name in VALUES}
            for strategy, rows in by_strategy.items()
        }
        for data, by_strategy in groups.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all jobs, a line of progress for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_check", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=",".join(PROBLEMS), help=f"comma-separated: {', '.join(PROBLEMS)}")
    parser.add_argument("--seeds", type=int, default=3, help="jobs of each strategy on each data")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    names = chosen.data.split(",")
    if unknown := sorted(set(names) - set(PROBLEMS)):
        parser.error(f"--data are out of {', '.join(PROBLEMS)}, got {', '.join(unknown)}")
    if "trec" in names and not (DATA_FOLDER / "trec").is_dir():
        raise SystemExit(
            f"benchmarks.real_check: trec is not in {DATA_FOLDER}: set TUNELADDER_DATA or --data digits"
        )
    jobs = []
    with tempfile.TemporaryDirectory() as home:
        for name in names:
            for seed in range(chosen.seeds):
                for strategy in STRATEGIES:
                    jobs.append(run(name, strategy, seed, folder=DATA_FOLDER, home=Path(home)))
                    print(json.dumps(jobs[-1]), file=sys.stderr, flush=True)
    result = {"jobs": jobs, "mean": summarize(jobs)}
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
