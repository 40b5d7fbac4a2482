"""An Optuna sampler that learns from trials of every length and searches around the best of them.

Optuna's own samplers either leave out what stopped early or compare values of different epochs. A short training
is full of stopped trials, so this sampler models value over (params, epoch) and asks for what is likely best at
full length. The same model forecasts what a trial that is still running will reach (`forecasting`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from search_spaces import SearchSpace
from service.search.cube import Array, Cube
from service.search.encoding import decode, distribution, encode
from service.search.forecasting import Forecaster, Scale, one_thread
from service.search.surrogate import GaussianProcess

POOL = 500  # points that are weighed for each candidate
LOCAL_SHARE = 0.5  # of them around the most promising trials, the rest anywhere
STEP = 0.15  # typical move of a local point, in the width of a range
NUM_CENTRES = 3  # trials that local points start from: the best, and what is expected to become the best
NUM_CLIMBED = 3  # best points of the pool that are climbed from
NUM_CLIMBS = 8  # steps of the climb, each SHRINK times as long as the one before
NUM_NEIGHBOURS = 10  # of each point in each step of the climb
SHRINK = 0.8
MIN_DISTANCE = 0.02  # in the width of a range, along any of them: what is closer to a trial would teach nothing
MAX_TRIALS = 200  # in the model: the longest, then the newest
MAX_POINTS = 260  # values of those trials; bounds the cost of a candidate
NUM_SHAPES = 4  # of networks in a round: as many as a small round has candidates
FIT_STEPS = 10  # L-BFGS iterations of a round, from where the last round ended
FIT_ALWAYS = 160  # trials; beyond, a fit costs more than all else, and waits until FIT_GROWTH of them are new
FIT_GROWTH = 0.05


class SurrogateSampler(optuna.samplers.BaseSampler):
    """Expected improvement at full length, under a Gaussian process over params and epoch.

    Candidates that have not ended count as if they came out as predicted (kriging believer), so that a round
    spreads; what has been told of those that are under way is known beside it.

    A round's first candidates are anything. Where some parameters decide over a network's shape, further ones have
    a shape that is there already, whichever promises most: more of them can train as one network.

    Args:
        space: What may vary; all of it is proposed together.
        rungs: Epochs at which trials are measured, the last one full length.
        seed: Everything drawn follows from it.
        shape: Names of the parameters that decide over a network's shape; none where that saves nothing.

    Source:
        Jones, Schonlau & Welch 1998 (expected improvement); Ginsbourger, Le Riche & Carraro 2010 (kriging
        believer).
    """

    def __init__(self, space: SearchSpace, *, rungs: Sequence[int], seed: int, shape: Sequence[str] = ()) -> None:
        self._space = space
        self._shape = [space.names.index(name) for name in shape]
        self._cube = Cube(space)
        self._distributions = {parameter.name: distribution(parameter) for parameter in space}
        self._rungs = tuple(rungs)
        self._generator = np.random.default_rng(seed)
        self._model = GaussianProcess(self._cube.num_columns + 1)
        self._rows: dict[int, Array] = {}  # of the study's trials
        self._losses: dict[int, float | None] = {}  # of those that have ended
        self._x: Array = np.zeros((0, self._cube.num_columns + 1))  # what the model was fitted to
        self._y: Array = np.zeros(0)
        self._num_known = 0  # trials in the model's data
        self._num_running = 0  # of them
        self._num_fitted = 0  # trials when its hyperparameters were fitted
        self._believed: list[Array] = []  # rows that the model holds beside the data

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
        """Choose the point with the highest expected improvement."""
        with one_thread():
            params = self._cube.params(self._propose(study, trial))
        return {p.name: encode(p, params[p.name]) for p in self._space}

    def forecaster(self) -> Forecaster | None:
        """Give forecasts by what is known now; None before anything is."""
        if not self._num_known:
            return None
        return Forecaster(
            cube=self._cube,
            full=self._rungs[-1],
            model=copy.copy(self._model),
            x=self._x,
            y=self._y,
            scale=self._scale,
        )

    def _propose(self, study: Study, trial: FrozenTrial) -> Array:
        known = [t for t in study.get_trials(deepcopy=False) if self._loss(t) is not None]
        if len(known) < 2:
            only: Array = self._anywhere(1)[0]
            return only
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        others = [t for t in running if t.number != trial.number and t.params]
        asked = [self._row(t) for t in others]
        shapes = self._shapes([t for t in others if not t.intermediate_values])
        self._learn(known)
        self._believe(asked)
        centres = self._centres
        bar = float(self._model.predict(self._inputs(centres[:1], self._rungs[-1]))[0][0])
        num_near = int(POOL * LOCAL_SHARE)
        near = self._near(centres[np.arange(num_near) % len(centres)], STEP)
        pool = self._shaped(np.vstack([near, self._anywhere(POOL - num_near)]), shapes)
        taken = self._warp(np.array(asked)) if asked else np.zeros((0, len(self._space)))
        best, scores = self._best(pool, self._score(pool, bar, taken), NUM_CLIMBED)
        for climb in range(NUM_CLIMBS):
            around = self._near(np.repeat(best, NUM_NEIGHBOURS, axis=0), STEP * SHRINK**climb)
            around = self._shaped(around, shapes)
            scores = np.concatenate([scores, self._score(around, bar, taken)])
            best, scores = self._best(np.vstack([best, around]), scores, NUM_CLIMBED)
        chosen: Array = best[0]
        return chosen

    def _shapes(self, asked: Sequence[FrozenTrial]) -> Array:
        """Give the shapes that a round's next candidate chooses from, a row of each; none where it is free."""
        if not self._shape or len(asked) < NUM_SHAPES:
            return np.zeros((0, len(self._shape)))
        return np.array([self._row(t)[self._shape] for t in asked])

    def _shaped(self, rows: Array, shapes: Array) -> Array:
        """Give rows shapes that there are; one that has one of them keeps it."""
        if not len(shapes):
            return rows
        distances = cdist(rows[:, self._shape], shapes, "chebyshev")
        drawn = self._generator.integers(len(shapes), size=len(rows))
        chosen = np.where(distances.min(axis=1) > 0.0, drawn, distances.argmin(axis=1))
        shaped = rows.copy()
        shaped[:, self._shape] = shapes[chosen]
        return self._cube.snap(shaped)

    @staticmethod
    def _best(rows: Array, scores: Array, count: int) -> tuple[Array, Array]:
        order = np.argsort(-scores, kind="stable")[:count]
        return rows[order], scores[order]

    def _score(self, rows: Array, bar: float, taken: Array) -> Array:
        """Give the expected improvement over the bar at full length; -1 to what is nearly known or asked."""
        mean, std = self._model.predict(self._inputs(rows, self._rungs[-1]))
        z = (bar - mean) / std
        improvement = std * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
        warped = self._warp(rows)
        # Infinite beyond the bound. A tree, for a long job knows thousands of trials.
        is_known = np.isfinite(self._tree.query(warped, p=np.inf, distance_upper_bound=MIN_DISTANCE)[0])
        if len(taken):
            is_known |= cdist(warped, taken, "chebyshev").min(axis=1) < MIN_DISTANCE
        score: Array = np.where(is_known, -1.0, improvement)
        return score

    def _believe(self, asked: Sequence[Array]) -> None:
        """Have the model hold the data and what was asked for since; mostly all but the last of it is there."""
        if not _starts_with(asked, self._believed):
            self._model.condition(self._x, self._y)
            self._believed = []
        for row in asked[len(self._believed) :]:
            self._model.believe(self._inputs(row[None], self._rungs[-1])[0])
            self._believed.append(row)

    def _learn(self, known: Sequence[FrozenTrial]) -> None:
        """Take in what a round has brought."""
        num_running = sum(not t.state.is_finished() for t in known)
        if (len(known), num_running) == (self._num_known, self._num_running):
            return
        self._num_known, self._num_running = len(known), num_running
        chosen = sorted(known, key=lambda t: (-_epochs(t), -t.number))[:MAX_TRIALS]
        points = [(self._row(t), epoch, loss) for t in chosen for epoch, loss in self._measured(t)][:MAX_POINTS]
        rows, epochs, losses = (np.array(column) for column in zip(*points, strict=True))
        self._scale = Scale(losses)
        self._x = self._inputs(rows, epochs)
        self._y = self._scale.normalize(losses)
        is_due = len(known) <= FIT_ALWAYS or len(known) >= (1 + FIT_GROWTH) * self._num_fitted
        self._model.fit(self._x, self._y, steps=FIT_STEPS if is_due else 0)
        self._num_fitted = len(known) if is_due else self._num_fitted
        self._believed = []
        self._tree = cKDTree(self._warp(np.array([self._row(t) for t in known])))
        self._centres = self._promising(known)

    def _measured(self, trial: FrozenTrial) -> list[tuple[int, float]]:
        """List the best loss up to each rung that a trial reached, and to its end."""
        last = _epochs(trial)
        found = []
        for epoch in (*(rung for rung in self._rungs if rung < last), last):
            losses = [loss for step, loss in trial.intermediate_values.items() if step <= epoch]
            if losses:
                found.append((epoch, min(losses)))
        return found

    def _inputs(self, rows: Array, epochs: int | Array) -> Array:
        return self._cube.inputs(rows, epochs, full=self._rungs[-1])

    def _row(self, trial: FrozenTrial) -> Array:
        if trial.number not in self._rows:
            self._rows[trial.number] = self._cube.row(
                {p.name: decode(p, trial.params[p.name]) for p in self._space}
            )
        return self._rows[trial.number]

    def _loss(self, trial: FrozenTrial) -> float | None:
        """Give `_loss` of a trial, which never changes once it has ended; a long job has thousands."""
        if not trial.state.is_finished():
            return _loss(trial)
        if trial.number not in self._losses:
            self._losses[trial.number] = _loss(trial)
        return self._losses[trial.number]

    def _promising(self, known: Sequence[FrozenTrial]) -> Array:
        """Give the best trial, and those that the model thinks best at full length, wherever they stopped."""
        rows = np.array([self._row(t) for t in known])
        expected, _ = self._model.predict(self._inputs(rows, self._rungs[-1]))
        complete = [i for i, t in enumerate(known) if t.state is TrialState.COMPLETE] or range(len(known))
        best = min(complete, key=lambda i: (self._loss(known[i]), known[i].number))
        others = [i for i in np.argsort(expected, kind="stable").tolist() if i != best]
        centres: Array = rows[[best, *others[: NUM_CENTRES - 1]]]
        return centres

    def _anywhere(self, count: int) -> Array:
        drawn = self._generator.random((count, len(self._space)))
        return self._cube.snap(self._unwarp(drawn))

    def _near(self, centres: Array, step: float) -> Array:
        """Move each parameter of each row with a chance of one third, at least one of them."""
        generator, (count, num) = self._generator, centres.shape
        moves = generator.random((count, num)) < 1 / 3
        moves[np.arange(count), generator.integers(num, size=count)] = True
        sizes = step * np.exp(0.7 * generator.standard_normal((count, 1)))
        moved = np.clip(self._warp(centres) + sizes * generator.standard_normal((count, num)), 0.0, 1.0)
        moved = np.where(self._cube.unordered, generator.random((count, num)), self._unwarp(moved))
        return self._cube.snap(np.where(moves, moved, centres))

    def _warp(self, rows: Array) -> Array:
        """Put rows on the scales that the model has fitted; unordered choices have none."""
        inputs = np.full((len(rows), self._cube.num_columns + 1), 0.5)
        inputs[:, self._cube.first_columns] = rows
        return np.where(self._cube.unordered, rows, self._model.warp(inputs)[:, self._cube.first_columns])

    def _unwarp(self, rows: Array) -> Array:
        unwarped = self._model.unwarp(rows, self._cube.first_columns)
        return np.where(self._cube.unordered, rows, unwarped)


def _starts_with(rows: Sequence[Array], first: Sequence[Array]) -> bool:
    return len(rows) >= len(first) and all(np.array_equal(a, b) for a, b in zip(rows, first, strict=False))


def _epochs(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=1)


def _loss(trial: FrozenTrial) -> float | None:
    """Give the best loss of a trial that ended with one, or has one so far."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    if trial.state in (TrialState.PRUNED, TrialState.RUNNING) and trial.intermediate_values:
        return min(trial.intermediate_values.values())
    return None
