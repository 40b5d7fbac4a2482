"""Normalized regret, its means, and a sign test over tasks."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.replay.reference import Reference
from benchmarks.replay.strategies import RunResult

NOTHING_YET = 1.0  # a strategy that has no incumbent returns a random configuration: the median one


def normalized_regret(value: float | None, reference: Reference) -> float:
    """Place a value between the best known (0) and the median of random (1); worse ones exceed 1."""
    if value is None:
        return NOTHING_YET
    return (reference.best - value) / (reference.best - reference.median)


def with_best_seen(reference: Reference, results: Sequence[RunResult]) -> Reference:
    """Raise the best known value to the best of these runs, so that no regret is negative."""
    return Reference(best=max(reference.best, *(result.best_seen for result in results)), median=reference.median)


def sign_test(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Test whether `first` is lower than `second` as often as not, pair by pair; ties are left out.

    Returns:
        `wins` and `losses` of the first, and the two-sided `p`.

    Source:
        Demsar 2006, JMLR 7, sec. 3.1.4.
    """
    wins = sum(a < b for a, b in zip(first, second, strict=True))
    losses = sum(a > b for a, b in zip(first, second, strict=True))
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    return {"wins": wins, "losses": losses, "p": min(1.0, 2 * tail)}


def summarize(results: Sequence[RunResult], references: Mapping[str, Reference]) -> dict[str, Any]:
    """Turn runs into the report's `strategies` and `sign_tests`.

    A task counts once: seeds are averaged before the sign test, for seeds of a task are not independent
    tasks. `pairs` is the same test over (task, seed) and claims more than it should.
    """
    raised = {
        task: with_best_seen(reference, [r for r in results if r.task == task])
        for task, reference in references.items()
    }
    grouped: dict[str, list[RunResult]] = defaultdict(list)
    for result in sorted(results, key=lambda r: (r.strategy, r.task, r.seed)):
        grouped[result.strategy].append(result)
    points = list(results[0].values)
    regrets = {
        name: {point: [normalized_regret(run.values[point], raised[run.task]) for run in runs] for point in points}
        for name, runs in grouped.items()
    }
    strategies = {name: _describe(runs, regrets[name]) for name, runs in grouped.items()}
    return {"strategies": strategies, "sign_tests": _sign_tests(strategies, regrets, points)}


def _describe(runs: Sequence[RunResult], regrets: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    per_task: dict[str, dict[str, float]] = {}
    for task in dict.fromkeys(run.task for run in runs):
        per_task[task] = {
            str(point): statistics.mean(value for run, value in zip(runs, values, strict=True) if run.task == task)
            for point, values in regrets.items()
        }
    return {
        "mean": {str(point): statistics.mean(values) for point, values in regrets.items()},
        "median": {str(point): statistics.median(values) for point, values in regrets.items()},
        "per_task": per_task,
        "ask_ms": 1000 * sum(run.asking_s for run in runs) / sum(run.num_trainings for run in runs),
        "trainings": statistics.mean(run.num_trainings for run in runs),
    }


def _sign_tests(
    strategies: Mapping[str, Any],
    regrets: Mapping[str, Mapping[int, Sequence[float]]],
    points: Sequence[int],
) -> dict[str, Any]:
    """Test every strategy against every other one."""
    tests: dict[str, Any] = {}
    for name, body in strategies.items():
        tests[name] = {}
        for other, theirs in strategies.items():
            if other == name:
                continue
            tests[name][other] = {
                str(point): sign_test(
                    [task[str(point)] for task in body["per_task"].values()],
                    [task[str(point)] for task in theirs["per_task"].values()],
                )
                | {"pairs": sign_test(regrets[name][point], regrets[other][point])}
                for point in points
            }
    return tests
