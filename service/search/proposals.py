"""Candidates from Optuna: the only door to it.

A `Proposer` is one in-memory study over some of a space's parameters, seeded. It is asked for candidates a
round at a time and told how each ended: COMPLETE, PRUNED with its intermediate values, or FAIL. Designs of
our own (defaults, spreads over a range) enter it as enqueued trials, so that the study has seen everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import optuna
from optuna.trial import TrialState

from search_spaces import SearchSpace, Value
from service.search.encoding import decode, distribution, encode
from service.search.rounds import Params, Trial, loss_at, to_loss
from service.spec import Mode

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Proposer:
    """One study over some parameters of a space; the others stay as they are in the base that `ask` gets.

    Args:
        space: The whole space.
        opens: Names of the parameters that the study proposes.
        mode: Direction of the objective.
        sampler: Who proposes; deterministic given its seed.
    """

    def __init__(
        self,
        space: SearchSpace,
        opens: Sequence[str],
        *,
        mode: Mode,
        sampler: optuna.samplers.BaseSampler,
    ) -> None:
        self._space = space
        self._open = tuple(space[name] for name in opens)
        self._mode: Mode = mode
        self._distributions = {p.name: distribution(p) for p in self._open}
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: list[tuple[optuna.Trial, dict[str, Value]]] = []
        self._told_to: dict[int, int] = {}  # the epochs of the study's trials that it has been told

    def enqueue(self, params: Params) -> None:
        """Put a design of our own first in the queue."""
        self._study.enqueue_trial({p.name: encode(p, params[p.name]) for p in self._open})

    def ask(self, count: int, *, base: Params) -> list[dict[str, Value]]:
        """Ask for candidates: complete params, the open parameters laid over the base."""
        candidates = []
        for _ in range(count):
            trial = self._study.ask(fixed_distributions=self._distributions)
            opened = {p.name: decode(p, trial.params[p.name]) for p in self._open}
            params = self._space.complete(dict(base) | opened)
            self._asked.append((trial, params))
            candidates.append(params)
        return candidates

    def drop(self, params: Params) -> None:
        """Withdraw what was asked last with these params: it is not trained, as they were tried before."""
        for index in reversed(range(len(self._asked))):
            trial, asked = self._asked[index]
            if asked == dict(params):
                self._study.tell(trial, state=TrialState.FAIL)
                del self._asked[index]
                return

    def tell(self, trials: Iterable[Trial], *, max_epochs: int) -> None:
        """Tell what asked candidates have come to; one that is still running stays RUNNING, to be told again."""
        for told in trials:
            for index, (trial, asked) in enumerate(self._asked):
                if asked == dict(told.params):
                    self._tell_one(trial, told, max_epochs)
                    if told.state != "running":
                        del self._asked[index]
                    break

    def _tell_one(self, trial: optuna.Trial, told: Trial, max_epochs: int) -> None:
        loss = loss_at(told, max_epochs, self._mode)
        if not math.isfinite(loss) and told.state != "running":
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for epoch, value in enumerate(told.values, start=1):
            step_loss = to_loss(value, self._mode)
            if math.isfinite(step_loss) and epoch > self._told_to.get(trial.number, 0):
                trial.report(step_loss, epoch)
        self._told_to[trial.number] = told.epochs
        if told.state == "completed":
            self._study.tell(trial, loss)
        elif told.state != "running":
            self._study.tell(trial, state=TrialState.PRUNED)

    def add(self, trials: Iterable[Trial], *, max_epochs: int) -> None:
        """Add trials of other stages that lie inside this study's space."""
        for trial in trials:
            loss = loss_at(trial, max_epochs, self._mode)
            inside = all(p.contains(trial.params.get(p.name)) for p in self._open)
            if not inside or not math.isfinite(loss):
                continue
            reported = {
                epoch: to_loss(value, self._mode)
                for epoch, value in enumerate(trial.values, start=1)
                if value is not None and math.isfinite(value)
            }
            done = trial.state == "completed"
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.COMPLETE if done else TrialState.PRUNED,
                    value=loss if done else None,
                    params={p.name: encode(p, trial.params[p.name]) for p in self._open},
                    distributions=self._distributions,
                    intermediate_values=reported,
                )
            )
