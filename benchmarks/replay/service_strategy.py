"""tuneladder's own strategies on a replayed problem: its plan, rounds, rungs and incumbents, nothing else.

What a job does around them (legs, store, engines) changes no value, so it is left out here for speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.replay.meter import BudgetSpentError, Meter, Training
from benchmarks.replay.problem import Params
from service.search import Round, Trial, make_plan, make_strategy, promote
from service.search.prior import starting_points
from service.spec import Spec

SERVICE_STRATEGIES = ("ladder", "joint", "random")
_METRIC = "val_accuracy"  # the name only: problems are written so that higher is better


def make_spec(name: str, meter: Meter, seed: int, overrides: dict[str, Any] | None = None) -> Spec:
    """Write the spec of a job with this meter's budget; everything else is the product's own default.

    Args:
        name: One of `SERVICE_STRATEGIES`.
        meter: Its budget and its problem.
        seed: Of the job.
        overrides: Fields of `search`, for a study of the strategy's own settings.
    """
    max_epochs = meter.problem.max_epochs
    search: dict[str, Any] = {"strategy": name, **(overrides or {})}
    if max_epochs == 1:
        search["rungs"] = {"min_epochs": 1}
    return Spec.model_validate(
        {
            "name": "replay",
            "family": {"module": "benchmarks.replay:Replayed"},
            "data": {"module": "benchmarks.replay:Replayed"},
            "objective": {"metric": _METRIC, "mode": "max"},
            "search": search,
            "budget": {"epochs": meter.budget, "max_epochs_per_trial": max_epochs},
            "early_stopping": {"patience": None},
            "seed": seed,
        }
    )


def run_service_strategy(
    name: str,
    meter: Meter,
    seed: int,
    overrides: dict[str, Any] | None = None,
    *,
    winners: Sequence[Params] = (),
) -> float:
    """Run `ladder`, `joint` or `random` until its budget is spent.

    Args:
        name: One of `SERVICE_STRATEGIES`.
        meter: Its budget and its problem.
        seed: Of the job.
        overrides: Fields of `search`, for a study of the strategy's own settings.
        winners: Of earlier jobs, as `search.prior: history` finds them in the record.

    Returns:
        Seconds that the strategy took to ask for its rounds, what it was told before included.
    """
    spec = make_spec(name, meter, seed, overrides)
    starts = starting_points(meter.problem.space, winners)
    plan = make_plan(spec, meter.problem.space, metric=_METRIC, mode="max", starts=starts)
    rounds = make_strategy(plan, meter.problem.space, seed=seed).rounds()
    asking_s, num_trials = 0.0, 0
    answer: tuple[Trial, ...] | None = None
    try:
        while True:
            start = time.perf_counter()
            asked = rounds.send(answer)
            asking_s += time.perf_counter() - start
            answer = None
            if isinstance(asked, Round):
                answer = _train_round(meter, asked, first_number=num_trials)
                num_trials += len(answer)
    except (StopIteration, BudgetSpentError):
        return asking_s


def _train_round(meter: Meter, round_: Round, *, first_number: int) -> tuple[Trial, ...]:
    trainings: dict[int, Training] = {}
    trials: dict[int, Trial] = {}
    for number, params in enumerate(round_.candidates, start=first_number):
        trainings[number] = meter.start(params)
        trials[number] = Trial(
            number=number, stage=round_.stage, round=round_.number, params=params, state="running"
        )
    alive = list(trials)
    for rung in round_.rungs:
        for number in alive:
            meter.train(trainings[number], rung)
            values = tuple(v if math.isfinite(v) else None for v in trainings[number].values.tolist())
            state = "completed" if rung == meter.problem.max_epochs else "running"
            trials[number] = replace(trials[number], values=values, state=state)
        kept = promote(round_, [trials[number] for number in alive], rung, "max")
        if rung != round_.rungs[-1]:
            alive = [number for number in alive if number in kept]
    return tuple(
        replace(trial, state="stopped") if trial.state == "running" else trial for trial in trials.values()
    )
