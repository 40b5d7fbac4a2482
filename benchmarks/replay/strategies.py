"""Name -> how to run it on a problem, and what one run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.replay.baselines import BASELINES
from benchmarks.replay.meter import Meter
from benchmarks.replay.problem import Params, Problem
from benchmarks.replay.service_strategy import SERVICE_STRATEGIES, run_service_strategy

STRATEGIES = (*SERVICE_STRATEGIES, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One strategy on one task with one seed.

    `values[point]` is the objective at full length of what the strategy would return after `point` full
    trainings' worth of epochs; None where it had nothing yet.
    """

    strategy: str
    task: str
    seed: int
    values: dict[int, float | None]
    best_seen: float  # the best value at full length that it ever returned
    num_trainings: int
    asking_s: float


def run_strategy(name: str, problem: Problem, *, seed: int, budget: int, points: Sequence[int]) -> RunResult:
    """Run a strategy until its budget is spent, and value what it would have returned along the way.

    Args:
        name: One of `STRATEGIES`.
        problem: The task.
        seed: Of the strategy.
        budget: In full trainings.
        points: Where to look, in full trainings.
    """
    meter = Meter(problem, budget * problem.max_epochs)
    if name in SERVICE_STRATEGIES:
        asking_s = run_service_strategy(name, meter, seed)
    else:
        asking_s = BASELINES[name](meter, seed)
    incumbents: list[Params] = [params for _, params in meter.trajectory]
    worth = dict(zip(map(id, incumbents), problem.finals(incumbents).tolist(), strict=True))
    values: dict[int, float | None] = {}
    for point in points:
        incumbent = meter.incumbent_at(point * problem.max_epochs)
        values[point] = None if incumbent is None else worth[id(incumbent)]
    return RunResult(
        strategy=name,
        task=problem.name,
        seed=seed,
        values=values,
        best_seen=max(worth.values()),
        num_trainings=meter.num_trainings,
        asking_s=asking_s,
    )
