"""The searches to beat, each as its own documentation says to use it.

optuna_random        `RandomSampler`, full-length trainings
optuna_tpe           `TPESampler` with its defaults
optuna_tpe_defaults  the same with the space's defaults enqueued first
optuna_hyperband     `TPESampler` with `HyperbandPruner(min_resource, max_resource, reduction_factor=3)`
optuna_gp            `GPSampler(deterministic_objective=True)`: a replayed training always ends the same
random_halving       synchronous successive halving of random draws, brackets of 27, one in three goes on

A strategy is a function of problem, seed and budget that trains on a `Meter` until the budget is spent and
returns the seconds that its suggestions took.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from benchmarks.replay.meter import BudgetSpentError, Meter, Training
from benchmarks.replay.problem import Params, draw
from search_spaces import Choice, Float, SearchSpace, Value

Baseline = Callable[[Meter, int], float]

MIN_EPOCHS = 2  # the first rung: the first epoch with a sound value
REDUCTION_FACTOR = 3
HALVING_SIZE = 27  # three rungs of thirds


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Write a space in Optuna's words; ordered choices as an index, as a grid of numbers is."""
    found: dict[str, BaseDistribution] = {}
    for parameter in space:
        if isinstance(parameter, Choice):
            last = len(parameter.choices) - 1
            found[parameter.name] = (
                IntDistribution(0, last) if parameter.ordered else CategoricalDistribution(parameter.choices)
            )
        elif isinstance(parameter, Float):
            found[parameter.name] = FloatDistribution(parameter.low, parameter.high, log=parameter.log)
        else:
            found[parameter.name] = IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return found


def _decode(space: SearchSpace, suggested: Params) -> dict[str, Value]:
    params = dict(suggested)
    for parameter in space:
        if isinstance(parameter, Choice) and parameter.ordered:
            params[parameter.name] = parameter.choices[int(params[parameter.name])]
    return params


def _encode(space: SearchSpace, params: Params) -> dict[str, Value]:
    encoded = dict(params)
    for parameter in space:
        if isinstance(parameter, Choice) and parameter.ordered:
            encoded[parameter.name] = parameter.choices.index(params[parameter.name])
    return encoded


def _run_study(
    meter: Meter,
    seed: int,
    *,
    sampler: Callable[[int], BaseSampler],
    pruner: Callable[[int], BasePruner] | None = None,
    start_from_defaults: bool = False,
) -> float:
    """Optimize with `ask` and `tell`; with a pruner every epoch is reported, else only the last."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    problem = meter.problem
    study = optuna.create_study(
        study_name=f"{problem.name}-{seed}",  # Hyperband draws brackets from it
        direction="maximize",
        sampler=sampler(seed),
        pruner=pruner(problem.max_epochs) if pruner else NopPruner(),
    )
    if start_from_defaults:
        study.enqueue_trial(_encode(problem.space, problem.space.defaults()))
    space = distributions(problem.space)
    asking_s = 0.0
    try:
        while True:
            start = time.perf_counter()
            trial = study.ask(space)
            asking_s += time.perf_counter() - start
            training = meter.start(_decode(problem.space, trial.params))
            if pruner is None:
                value = meter.train(training, problem.max_epochs)
                pruned = False
            else:
                value, pruned = _train_with_pruner(meter, training, trial)
            start = time.perf_counter()
            if pruned:
                study.tell(trial, state=TrialState.PRUNED)
            elif math.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=TrialState.FAIL)
            asking_s += time.perf_counter() - start
    except BudgetSpentError:
        return asking_s


def _train_with_pruner(meter: Meter, training: Training, trial: optuna.Trial) -> tuple[float, bool]:
    value = math.nan
    last = meter.problem.max_epochs
    for epoch in range(1, last + 1):
        value = meter.train(training, epoch)
        if not math.isfinite(value):
            continue
        trial.report(value, epoch)
        if epoch < last and trial.should_prune():
            return value, True
    return value, False


def rungs(max_epochs: int) -> list[int]:
    """List the epochs of comparison: 51 gives 2, 6, 18, 51."""
    found, epoch = [], MIN_EPOCHS
    while epoch * math.sqrt(REDUCTION_FACTOR) < max_epochs:
        found.append(epoch)
        epoch *= REDUCTION_FACTOR
    return [*found, max_epochs]


def random_halving(meter: Meter, seed: int) -> float:
    """Draw 27 configurations, let a third of them go on from each rung, and begin again."""
    problem = meter.problem
    generator = np.random.default_rng([seed, 27])
    try:
        while True:
            alive = [meter.start(draw(problem.space, generator)) for _ in range(HALVING_SIZE)]
            for rung in rungs(problem.max_epochs):
                scored = [(meter.train(training, rung), -i, training) for i, training in enumerate(alive)]
                scored.sort(key=lambda entry: (math.isfinite(entry[0]), *entry[:2]), reverse=True)
                alive = [training for *_, training in scored[: math.ceil(len(alive) / REDUCTION_FACTOR)]]
    except BudgetSpentError:
        return 0.0


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, deterministic_objective=True)


def _hyperband(max_epochs: int) -> BasePruner:
    return HyperbandPruner(
        min_resource=min(MIN_EPOCHS, max_epochs), max_resource=max_epochs, reduction_factor=REDUCTION_FACTOR
    )


BASELINES: dict[str, Baseline] = {
    "optuna_random": partial(_run_study, sampler=_random),
    "optuna_tpe": partial(_run_study, sampler=_tpe),
    "optuna_tpe_defaults": partial(_run_study, sampler=_tpe, start_from_defaults=True),
    "optuna_hyperband": partial(_run_study, sampler=_tpe, pruner=_hyperband),
    "optuna_gp": partial(_run_study, sampler=_gp),
    "random_halving": random_halving,
}
