"""An Optuna sampler that learns from trials of every length and searches around the best of them.

Optuna's own samplers either leave out what stopped early or compare values of different epochs. A short training
is full of stopped trials, so this sampler models value over (params, epoch) and asks for what is likely best at
full length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from search_spaces import Choice, SearchSpace, Value
from service.search.encoding import decode, distribution, encode
from service.search.surrogate import Array, GaussianProcess

POOL = 500  # points that are weighed for each candidate
LOCAL_SHARE = 0.5  # of them around the best trials, the rest anywhere
STEP = 0.15  # typical move of a local point, in the width of a range
NUM_CENTRES = 3  # best trials that local points start from
MAX_POINTS = 200  # trials in the model: the longest, then the newest; bounds the cost of a candidate
FIT_STEPS = 10  # L-BFGS iterations of a round, from where the last round ended
CLIP = 3.0  # losses this far above the median (in distances from best to median) are all the same


class SurrogateSampler(optuna.samplers.BaseSampler):
    """Expected improvement at full length, under a Gaussian process over params and epoch.

    Candidates that are asked before the last ones are told count as if they came out as predicted (kriging
    believer), so that a round spreads.

    Args:
        space: What may vary; all of it is proposed together.
        max_epochs: Full length of a trial.
        seed: Everything drawn follows from it.

    Source:
        Jones, Schonlau & Welch 1998 (expected improvement); Ginsbourger, Le Riche & Carraro 2010 (kriging
        believer).
    """

    def __init__(self, space: SearchSpace, *, max_epochs: int, seed: int) -> None:
        self._space = space
        self._distributions = {parameter.name: distribution(parameter) for parameter in space}
        self._max_epochs = max_epochs
        self._generator = np.random.default_rng(seed)
        self._model = GaussianProcess(_width(space) + 1)
        self._num_fitted = -1
        self._threads = ThreadpoolController()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Propose everything together."""
        return dict(self._distributions)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that is not of the space; Optuna asks for none."""
        raise ValueError(f"this sampler proposes its space alone, got {param_name!r}: give it the whole space")

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Choose the point of the pool with the highest expected improvement."""
        # Sums depend on the number of threads, and so would the job on the machine; slots need the cores anyway.
        with self._threads.limit(limits=1, user_api="blas"):
            return self._propose(study, trial)

    def _propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        ended = [t for t in study.get_trials(deepcopy=False) if _loss(t) is not None]
        if len(ended) < 2:
            return self._encode(self._anywhere())
        self._fit(ended)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        asked = [self._decode(t.params) for t in running if t.number != trial.number and t.params]
        for params in asked:
            self._model.believe(np.append(self._features(params), 1.0))
        best = self._centres(ended)
        pool = [self._near(best[i % len(best)]) for i in range(int(POOL * LOCAL_SHARE))]
        pool += [self._anywhere() for _ in range(POOL - len(pool))]
        seen = {_key(self._decode(t.params)) for t in ended} | {_key(params) for params in asked}
        pool = [params for params in pool if _key(params) not in seen] or pool
        points = np.array([[*self._features(params), 1.0] for params in pool])
        bar, _ = self._model.predict(np.append(self._features(best[0]), 1.0)[None])
        return self._encode(pool[int(np.argmax(self._improvement(points, float(bar[0]))))])

    def _improvement(self, points: Array, bar: float) -> Array:
        mean, std = self._model.predict(points)
        z = (bar - mean) / std
        improvement: Array = std * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
        return improvement

    def _fit(self, ended: Sequence[FrozenTrial]) -> None:
        """Fit once a round; afterwards only take back what was believed."""
        steps = FIT_STEPS if len(ended) != self._num_fitted else 0
        self._num_fitted = len(ended)
        ended = sorted(ended, key=lambda t: (-_epochs(t), -t.number))[:MAX_POINTS]
        x = np.array([[*self._features(self._decode(t.params)), self._length(t)] for t in ended])
        losses = np.array([_loss(t) for t in ended])
        self._model.fit(x, _normalized(losses), steps=steps)

    def _length(self, trial: FrozenTrial) -> float:
        """Place an epoch between 0 (the first) and 1 (full length), in equal ratios."""
        if self._max_epochs == 1:
            return 1.0
        return math.log(max(1, _epochs(trial))) / math.log(self._max_epochs)

    def _centres(self, ended: Sequence[FrozenTrial]) -> list[dict[str, Value]]:
        complete = [t for t in ended if t.state is TrialState.COMPLETE] or list(ended)
        complete.sort(key=lambda t: (_loss(t), t.number))
        return [self._decode(t.params) for t in complete[:NUM_CENTRES]]

    def _anywhere(self) -> dict[str, Value]:
        units = self._generator.random(len(self._space))
        drawn = {p.name: p.from_unit(float(unit)) for p, unit in zip(self._space, units, strict=True)}
        return self._space.complete(drawn)

    def _near(self, centre: Mapping[str, Value]) -> dict[str, Value]:
        """Move each parameter with a chance of one third, at least one of them."""
        generator, num = self._generator, len(self._space)
        moved = generator.random(num) < 1 / 3
        moved[int(generator.integers(num))] = True
        size = STEP * math.exp(0.7 * generator.standard_normal())
        params = dict(centre)
        steps = size * generator.standard_normal(num)
        for parameter, step in ((p, s) for p, s, moves in zip(self._space, steps, moved, strict=True) if moves):
            if isinstance(parameter, Choice) and not parameter.ordered:
                unit = float(generator.random())
            else:
                unit = min(max(parameter.to_unit(params[parameter.name]) + float(step), 0.0), 1.0)
            params[parameter.name] = parameter.from_unit(unit)
        return self._space.complete(params)

    def _features(self, params: Mapping[str, Value]) -> list[float]:
        """Place params in [0, 1]^D: one column for a scale, one for each of unordered choices."""
        columns: list[float] = []
        for parameter in self._space:
            value = params[parameter.name]
            if isinstance(parameter, Choice) and not parameter.ordered:
                columns += [1.0 if choice == value else 0.0 for choice in parameter.choices]
            else:
                columns.append(parameter.to_unit(value))
        return columns

    def _decode(self, params: Mapping[str, Any]) -> dict[str, Value]:
        return {p.name: decode(p, params[p.name]) for p in self._space}

    def _encode(self, params: Mapping[str, Value]) -> dict[str, Any]:
        return {p.name: encode(p, params[p.name]) for p in self._space}


def _key(params: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(params.items()))


def _width(space: SearchSpace) -> int:
    return sum(len(p.choices) if isinstance(p, Choice) and not p.ordered else 1 for p in space)


def _epochs(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=1)


def _loss(trial: FrozenTrial) -> float | None:
    """Give the best loss of a trial that ended with one."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        return min(trial.intermediate_values.values())
    return None


def _normalized(losses: Array) -> Array:
    """Put the best at 0 and the median at 1, and press what is worse together: how bad is of no use."""
    spread = max(float(np.median(losses) - losses.min()), 1e-12)
    scaled = (losses - losses.min()) / spread
    pressed: Array = np.minimum(np.where(scaled > 1, 1 + np.log(np.maximum(scaled, 1)), scaled), CLIP)
    return pressed
