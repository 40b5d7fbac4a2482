"""What earlier jobs are worth: the ladder with and without `search.prior: history`, one task left out at a time.

    python -m benchmarks.replay.history --surrogate DIR --seeds 5 --json

The ladder runs on every development task; then again on each, with what won on the other ones as its history. The
last line of standard output is

    {"without": {"mean": {"5": ..., ...}, "median": {...}}, "with": {...}, "sign_test": {"5": {...}, ...}}
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.replay.compare import POINTS
from benchmarks.replay.meter import Meter
from benchmarks.replay.metrics import normalized_regret, sign_test
from benchmarks.replay.problem import Params, Problem
from benchmarks.replay.reference import Reference, find_reference
from benchmarks.replay.service_strategy import run_service_strategy
from benchmarks.replay.surrogate import LCBench, LCBenchProblem

Regrets = dict[str, list[dict[int, float]]]  # task -> a run for each seed


def run(problem: Problem, seed: int, *, budget: int, winners: Sequence[Params]) -> tuple[dict[int, float], Params]:
    """Run the ladder once: its value at each point, and what it returns in the end."""
    meter = Meter(problem, budget * problem.max_epochs)
    run_service_strategy("ladder", meter, seed, winners=winners)
    points = [point for point in POINTS if point <= budget]
    held = [meter.incumbent_at(point * problem.max_epochs) for point in points]
    assert all(params is not None for params in held), "a budget of five trainings holds a first value"
    finals = problem.finals([params for params in held if params is not None])
    return dict(zip(points, finals.tolist(), strict=True)), meter.trajectory[-1][1]


def compare(problems: Mapping[str, Problem], *, seeds: Sequence[int], budget: int) -> dict[str, Any]:
    """Run the ladder with and without history.

    Args:
        problems: By name; a job's history is what won on the others with the same seed.
        seeds: Runs on each problem.
        budget: In full trainings.
    """
    references = {name: find_reference(problem) for name, problem in problems.items()}
    without: Regrets = {name: [] for name in problems}
    informed: Regrets = {name: [] for name in problems}
    for seed in seeds:
        winners: dict[str, Params] = {}
        for name, problem in problems.items():
            values, winners[name] = run(problem, seed, budget=budget, winners=())
            without[name].append(_regrets(values, references[name]))
        for name, problem in problems.items():
            others = [params for other, params in winners.items() if other != name]
            values, _ = run(problem, seed, budget=budget, winners=others)
            informed[name].append(_regrets(values, references[name]))
    points = list(next(iter(without.values()))[0])
    return {
        "without": _describe(without, points),
        "with": _describe(informed, points),
        "sign_test": {
            str(point): sign_test(_by_task(informed, point), _by_task(without, point)) for point in points
        },
    }


def _regrets(values: Mapping[int, float], reference: Reference) -> dict[int, float]:
    return {point: normalized_regret(value, reference) for point, value in values.items()}


def _by_task(regrets: Regrets, point: int) -> list[float]:
    return [statistics.mean(run[point] for run in runs) for runs in regrets.values()]


def _describe(regrets: Regrets, points: Sequence[int]) -> dict[str, dict[str, float]]:
    values = {str(point): [run[point] for runs in regrets.values() for run in runs] for point in points}
    return {
        "mean": {point: statistics.mean(found) for point, found in values.items()},
        "median": {point: statistics.median(found) for point, found in values.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare on the development tasks of LCBench."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay.history")
    parser.add_argument("--surrogate", type=Path, required=True, help="folder of LCBench's model.onnx")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=40, help="in full trainings")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1 or chosen.budget < min(POINTS):
        parser.error(f"--seeds is at least 1 and --budget at least {min(POINTS)}")
    lcbench = LCBench(chosen.surrogate)
    result = compare(
        {task: LCBenchProblem(lcbench, task) for task in lcbench.development_tasks},
        seeds=range(chosen.first_seed, chosen.first_seed + chosen.seeds),
        budget=chosen.budget,
    )
    for name in ("without", "with"):
        means = "".join(f"{value:8.3f}" for value in result[name]["mean"].values())
        print(f"{name:10}{means}")
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
