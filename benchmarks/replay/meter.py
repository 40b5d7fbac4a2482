"""Trains by looking up, counts epochs, and remembers which configuration a search would return when.

The rule for the incumbent is the same for every strategy: trained to full length before trained in part, then
further before less far, then the higher value, then the earlier. What it is worth is decided elsewhere, by its
value at full length: what the person would get who trains what the search returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from benchmarks.replay.problem import Floats, Params, Problem


class BudgetSpentError(Exception):
    """The budget does not hold the training that was asked for. Ends a strategy."""


@dataclass(eq=False)
class Training:
    """A configuration and how far it is trained."""

    params: Params
    curve: Floats  # the whole of it; only `values` is paid for
    epoch: int = 0

    @property
    def values(self) -> Floats:
        """The objective after each epoch trained so far, (epoch,)."""
        return self.curve[: self.epoch]


@dataclass
class Meter:
    """Counts what a strategy spends on a problem.

    Args:
        problem: The problem.
        budget: Epochs in all.
    """

    problem: Problem
    budget: int
    spent: int = 0
    num_trainings: int = 0
    trajectory: list[tuple[int, Params]] = field(default_factory=list)  # (epochs spent, incumbent from then)
    _rank: tuple[float, ...] = (-math.inf,)

    def start(self, params: Params) -> Training:
        """Begin a training; costs nothing yet.

        Raises:
            BudgetSpentError: Not one epoch is left.
        """
        if self.spent >= self.budget:
            raise BudgetSpentError
        self.num_trainings += 1
        return Training(params, self.problem.curve(params))

    def train(self, training: Training, epoch: int) -> float:
        """Train on to an epoch, and pay.

        Returns:
            The objective after it; NaN where nothing sound is known.

        Raises:
            BudgetSpentError: What is left of the budget does not reach so far; it is spent in vain.
        """
        cost = epoch - training.epoch
        if self.spent + cost > self.budget:
            self.spent = self.budget
            raise BudgetSpentError
        self.spent += cost
        training.epoch = epoch
        value = float(training.curve[epoch - 1])
        rank = (float(epoch >= self.problem.max_epochs), float(epoch), value)
        if math.isfinite(value) and rank > self._rank:
            self._rank = rank
            self.trajectory.append((self.spent, training.params))
        return value

    def incumbent_at(self, epochs: int) -> Params | None:
        """Give what the strategy would return after so many epochs; None before its first value."""
        known = [params for spent, params in self.trajectory if spent <= epochs]
        return known[-1] if known else None
