"""What orchestration costs: seconds per trial-epoch of tuneladder and of the stacks it wants to replace.

    python -m benchmarks.orchestration --trials 20 --json

Runs the same problem (`benchmarks.digits_problem`: ranges, rows, epochs, rungs, patience, workers, metric)
through the stack from the documentation, plain and with `reuse_actors`, and through `tuneladder run`, one
after the other, each in a process of its own. The last line of standard output is

    {"seconds_per_trial_epoch": {"plain": ..., "reuse": ..., "tuneladder": ...},
     "ratio": {"plain": ..., "reuse": ...}, "not_training_share": ..., "wall_clock": {...},
     "figures": {...}, "settings": {...}}

where a ratio is theirs over ours, `not_training_share` the part of our slots' time in which they do not train, and
`wall_clock` where it went (`benchmarks.wall_clock`). The clock holds worker starts, training, search and tracking;
it leaves out `ray.init`, the driver's imports and the creation of MLflow's tables for all, and counts tuneladder's
overfit check, its test of the winner and its bundle, which the others do not make. tuneladder's slots begin to
start while its driver still imports, about a second before its clock: the others know their workers later.

Two processes with a shared Optuna study (`benchmarks.optuna_processes`) join with `--with-optuna-processes`,
and without being asked from 100 trials on: that is where a comparison without worker starts begins to matter.
`--plain-trials` gives the plain stack fewer trials than the others: each costs it the same, and 200 take long.

tuneladder searches by its default strategy, the ladder, in rounds of 10 trials, and of an eighth of all from 80
trials on, 32 at most. That favours it: trials of a round that share a shape train as one network. It is what a
person would set who has so many trials to spend; `search.candidates: auto` makes smaller rounds, of which the
search learns more often.

    python -m benchmarks.orchestration --job 1000 --json
    python -m benchmarks.orchestration --scaling --json

`--job` runs tuneladder alone: {"job": {"wall_s", "trials", "driver_peak_gib", "growth": {...}, ...}}, where the
peak is of resident memory of the driver's process, slots not included, and `growth` compares the time of a trial
in the first hundred and in the last (`benchmarks.wall_clock.growth`): width and batch size are fixed for it, as a
search that comes to wide networks and small batches has slower trials in the end. `--scaling` measures the engine
alone, with legs that sleep (`benchmarks.scaling`): {"scaling": {"1": ..., "2": ..., "4": ..., "8": ...}, ...}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import digits_problem as problem
from benchmarks.figures import Figures, last_json_line
from benchmarks.own_job import OwnFigures, run_tuneladder
from benchmarks.scaling import scaling
from benchmarks.wall_clock import growth

OPTUNA_PROCESSES_FROM = 100  # trials
OURS = "tuneladder"


def _run_module(name: str, *arguments: str) -> Figures:
    return Figures.from_dict(last_json_line([sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json"]))


def _stacks(chosen: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    plain_trials = str(chosen.plain_trials or chosen.trials)
    rest = ("--workers", str(chosen.workers), "--max-epochs", str(chosen.max_epochs))
    sizes = ("--trials", str(chosen.trials), *rest)
    checkpoints = ("--no-checkpoints",) if chosen.no_checkpoints else ()
    stacks: dict[str, Callable[[], Figures]] = {
        "plain": lambda: _run_module(
            "plain_stack", "--variant", "plain", "--trials", plain_trials, *rest, *checkpoints
        ),
        "reuse": lambda: _run_module("plain_stack", "--variant", "reuse", *sizes, *checkpoints),
    }
    if chosen.with_optuna_processes or chosen.trials >= OPTUNA_PROCESSES_FROM:
        stacks["optuna_processes"] = lambda: _run_module("optuna_processes", *sizes)
    stacks[OURS] = lambda: (
        run_tuneladder(
            trials=chosen.trials,
            workers=chosen.workers,
            max_epochs=chosen.max_epochs,
            strategy=chosen.strategy,
        ).figures
    )
    wanted = chosen.only.split(",") if chosen.only else list(stacks)
    unknown = sorted(set(wanted) - set(stacks))
    if unknown:
        raise SystemExit(f"--only names stacks out of {', '.join(stacks)}, got {', '.join(unknown)}")
    return {name: run for name, run in stacks.items() if name in wanted}


def compare(runs: Mapping[str, list[Figures]]) -> dict[str, Any]:
    """Turn each stack's runs into a rate (the median) and a ratio (theirs over ours); say where our time went."""
    rates = {
        name: statistics.median(figures.seconds_per_trial_epoch for figures in repeated)
        for name, repeated in runs.items()
    }
    ratio = {name: rate / rates[OURS] for name, rate in rates.items() if OURS in rates and name != OURS}
    figures = {name: [run.to_dict() for run in repeated] for name, repeated in runs.items()}
    ours = [run for run in runs.get(OURS, ()) if isinstance(run, OwnFigures)]
    where: dict[str, Any] = {}
    if ours:
        middle = sorted(ours, key=lambda run: run.not_training_share)[len(ours) // 2]
        where = {"not_training_share": middle.not_training_share, "wall_clock": dict(middle.wall_clock)}
    return {"seconds_per_trial_epoch": rates, "ratio": ratio, **where, "figures": figures}


def where_text(shares: Mapping[str, float]) -> str:
    """Write shares of the slots' time, the largest first."""
    parts = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.1%}" for name, share in parts)


def measure_job(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run tuneladder alone on a job of many trials."""
    run = run_tuneladder(
        trials=chosen.job,
        workers=chosen.workers,
        max_epochs=chosen.max_epochs,
        strategy=chosen.strategy,
        equal_cost=True,
    )
    figures, grown = run.figures, growth(run.timeline.rounds)
    print(
        f"{figures.trials} trials in {figures.wall_s:.1f} s, the driver's peak {figures.driver_peak_gib:.2f} GiB; "
        f"a trial takes {grown['ratio']:.2f} times as long at the end as at the beginning "
        f"({grown['ratio_by_epoch']:.2f} times for each epoch)\n{where_text(figures.wall_clock)}",
        file=sys.stderr,
    )
    return {"job": {**figures.to_dict(), "growth": grown}}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.orchestration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=problem.WORKERS)
    parser.add_argument("--max-epochs", type=int, default=problem.MAX_EPOCHS)
    parser.add_argument("--strategy", choices=["joint", "ladder"], default="ladder", help="tuneladder's")
    parser.add_argument("--with-optuna-processes", action="store_true", help="also below 100 trials")
    parser.add_argument("--plain-trials", type=int, default=None, help="trials of the plain stack alone")
    parser.add_argument("--job", type=int, default=None, metavar="TRIALS", help="tuneladder alone, its growth")
    parser.add_argument("--scaling", action="store_true", help="the engine alone, with legs that sleep")
    parser.add_argument("--legs", type=int, default=400, help="with --scaling, for each number of slots")
    parser.add_argument("--no-checkpoints", action="store_true", help="plain stack without checkpoints")
    parser.add_argument("--only", default="", help="stacks to run, such as plain,tuneladder")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each stack in turn; medians count")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name in ("trials", "workers", "max_epochs", "repeats", "plain_trials", "job", "legs"):
        if getattr(chosen, name) is not None and getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is at least 1, got {getattr(chosen, name)}")
    return chosen


def measure_stacks(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run every stack in turn and compare them."""
    stacks = _stacks(chosen)
    runs: dict[str, list[Figures]] = {name: [] for name in stacks}
    for repeat in range(chosen.repeats):
        for name, run in stacks.items():
            print(f"[{repeat + 1}/{chosen.repeats}] {name} ...", file=sys.stderr)
            figures = run()
            runs[name].append(figures)
            print(
                f"[{repeat + 1}/{chosen.repeats}] {name}: {figures.trials} trials, {figures.epochs} epochs, "
                f"{figures.wall_s:.1f} s, {figures.seconds_per_trial_epoch:.4f} s per trial-epoch, "
                f"best {figures.best:.4f}",
                file=sys.stderr,
            )
    comparison = compare(runs)
    for name, ratio in comparison["ratio"].items():
        print(f"{name} takes {ratio:.1f} times as long per trial-epoch as {OURS}", file=sys.stderr)
    if "wall_clock" in comparison:
        share = comparison["not_training_share"]
        print(f"{OURS} does not train for {share:.1%}: {where_text(comparison['wall_clock'])}", file=sys.stderr)
    return comparison


def main(arguments: list[str] | None = None) -> None:
    """Measure what was asked for and print it."""
    chosen = _parse(arguments)
    if chosen.scaling:
        found = scaling(num_legs=chosen.legs)
    elif chosen.job is not None:
        found = measure_job(chosen)
    else:
        found = measure_stacks(chosen)
    settings = {key: value for key, value in vars(chosen).items() if key != "json"}
    if chosen.json:
        print(json.dumps(found | {"settings": settings | {"cores": os.cpu_count()}}))
    else:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
