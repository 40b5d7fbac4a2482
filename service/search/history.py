"""Everything a search has seen: its trials and the incumbent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.search.rounds import Params, Trial, loss_at
from service.spec import Mode


@dataclass
class History:
    """The trials of a job in the order of their numbers.

    Args:
        mode: Direction of the objective.
        max_epochs: Full length of a trial.
    """

    mode: Mode
    max_epochs: int
    trials: list[Trial] = field(default_factory=list)
    incumbent: Trial | None = None

    def add(self, trials: Iterable[Trial]) -> None:
        """Add a round's trials; the best at full length becomes the incumbent, ties to the lower.

        One that was added while it ran is replaced.
        """
        for trial in sorted(trials, key=lambda trial: trial.number):
            if trial.number < len(self.trials):
                self.trials[trial.number] = trial
            else:
                self.trials.append(trial)
            if trial.state == "completed" and self.loss(trial) < self.incumbent_loss:
                self.incumbent = trial

    def loss(self, trial: Trial) -> float:
        """Give a trial's loss over all its epochs."""
        return loss_at(trial, self.max_epochs, self.mode)

    @property
    def incumbent_loss(self) -> float:
        """The incumbent's loss; infinite while there is none."""
        return self.loss(self.incumbent) if self.incumbent else math.inf

    @property
    def epochs(self) -> int:
        """Epochs trained in all."""
        return sum(trial.epochs for trial in self.trials)

    @property
    def charged_epochs(self) -> int:
        """Epochs that count against the budget: all that a running trial may come to.

        A trial that ends in its first one, unmeasured, costs it: without this a search whose trials all fail at
        once would never end.
        """
        return sum(self.max_epochs if t.state == "running" else max(1, t.epochs) for t in self.trials)

    @property
    def has_running(self) -> bool:
        """Whether some trial has not ended yet."""
        return any(trial.state == "running" for trial in self.trials)

    def has(self, params: Params) -> bool:
        """Say whether these params were tried."""
        return any(dict(trial.params) == dict(params) for trial in self.trials)

    def best(self) -> Trial | None:
        """Give the incumbent, or else the best of those that came furthest (a job that ended early)."""
        return self.best_of(self.trials)

    def best_of(self, trials: Iterable[Trial]) -> Trial | None:
        """Choose among trials: full length before part of it, then lower loss, then lower number."""
        alive = [trial for trial in trials if math.isfinite(self.loss(trial))]
        return min(
            alive,
            key=lambda t: (
                t.state != "completed",
                0 if t.state == "completed" else -t.epochs,
                self.loss(t),
                t.number,
            ),
            default=None,
        )
