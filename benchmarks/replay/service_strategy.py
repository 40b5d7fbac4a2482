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
from service.search import OpenRound, Rest, Round, Trial, make_plan, make_strategy
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
    answering = _Answering(meter)
    asking_s = 0.0
    answer: tuple[Trial, ...] | None = None
    try:
        while True:
            start = time.perf_counter()
            asked = rounds.send(answer)
            asking_s += time.perf_counter() - start
            answer = None
            if isinstance(asked, Round):
                answer = answering.run_round(asked)
            elif isinstance(asked, Rest):
                answer = answering.take_rest()
    except (StopIteration, BudgetSpentError):
        return asking_s


class _Answering:
    """Trains rounds as a job does, one training after another: what the answer needs, then the round before."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._trials: dict[int, Trial] = {}
        self._trainings: dict[int, Training] = {}
        self._before: OpenRound | None = None
        self._late: list[int] = []

    def run_round(self, round_: Round) -> tuple[Trial, ...]:
        opened = OpenRound(round_, self._trials, "max")
        for number in opened.numbers:
            self._trainings[number] = self._meter.start(self._trials[number].params)
        while not opened.answer:
            self._train(opened)
        rest = self.take_rest()
        self._before, self._late = opened, opened.running
        return (*rest, *opened.answer)

    def take_rest(self) -> tuple[Trial, ...]:
        while self._before and not self._before.is_over:
            self._train(self._before)
        return tuple(self._trials[number] for number in self._late)

    def _train(self, opened: OpenRound) -> None:
        for number in opened.running:
            training = self._trainings[number]
            self._meter.train(training, opened.rung)
            values = tuple(v if math.isfinite(v) else None for v in training.values.tolist())
            state = "completed" if opened.rung == self._meter.problem.max_epochs else "running"
            self._trials[number] = replace(self._trials[number], values=values, state=state)
        opened.decide()
