"""Compare strategies on replayed problems: see `python -m benchmarks.replay --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.replay.compare import compare
from benchmarks.replay.log import RunLog
from benchmarks.replay.strategies import STRATEGIES
from benchmarks.replay.surrogate import LCBench
from benchmarks.replay.table import TableProblem

DEVELOPMENT = "dev"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--surrogate", type=Path, help="folder of LCBench's model.onnx")
    source.add_argument("--table", type=Path, nargs="+", help=".npz of a grid (see benchmarks.replay.table)")
    parser.add_argument(
        "--tasks", default=DEVELOPMENT, help="comma-separated task ids; dev: the 17 for development"
    )
    parser.add_argument("--seeds", type=int, default=5, help="runs of each strategy on each task")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=40, help="in full trainings")
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="comma-separated")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--runs", type=Path, help="file of runs: those in it are not made again, new ones are added"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name in ("seeds", "budget", "processes"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} is at least 1, got {getattr(chosen, name)}")
    chosen.strategies = chosen.strategies.split(",")
    unknown = sorted(set(chosen.strategies) - set(STRATEGIES))
    if unknown:
        parser.error(f"--strategies are out of {', '.join(STRATEGIES)}, got {', '.join(unknown)}")
    return chosen


def _find_problems(chosen: argparse.Namespace) -> list[tuple[Path, str]]:
    """List (source, task), checked before anything runs."""
    try:
        if chosen.table:
            return [(path, TableProblem(path).name) for path in chosen.table]
        lcbench = LCBench(chosen.surrogate)
    except (OSError, ValueError) as error:
        raise SystemExit(f"benchmarks.replay: {error}") from None
    tasks = lcbench.development_tasks if chosen.tasks == DEVELOPMENT else chosen.tasks.split(",")
    unknown = sorted(set(tasks) - set(lcbench.tasks))
    if unknown:
        raise SystemExit(
            f"benchmarks.replay: --tasks are out of {', '.join(lcbench.tasks)}, got {', '.join(unknown)}"
        )
    return [(chosen.surrogate, task) for task in tasks]


def _print_table(comparison: dict[str, Any]) -> None:
    strategies = comparison["strategies"]
    points = list(next(iter(strategies.values()))["mean"])
    header = "".join(f"{point:>8}" for point in points)
    print(f"{'mean normalized regret':24}{header}   ask ms  trainings", file=sys.stderr)
    for name, body in sorted(strategies.items(), key=lambda item: item[1]["mean"][points[-1]]):
        values = "".join(f"{body['mean'][point]:8.3f}" for point in points)
        print(f"{name:24}{values}{body['ask_ms']:9.2f}{body['trainings']:11.1f}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print a table for people and, if asked, JSON for programs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the pool's processes import anything
    chosen = _parse(arguments)
    problems = _find_problems(chosen)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    comparison = compare(
        problems,
        strategies=chosen.strategies,
        seeds=seeds,
        budget=chosen.budget,
        num_processes=chosen.processes,
        log=RunLog(chosen.runs),
    )
    _print_table(comparison)
    if chosen.json:
        settings = {
            "tasks": [task for _, task in problems],
            "seeds": list(seeds),
            "budget": chosen.budget,
        }
        print(json.dumps(comparison | {"settings": settings}))


if __name__ == "__main__":
    main()
