"""Rounds and rungs: who goes on, decided at the same epoch for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search_spaces import Value
from service.errors import InvalidSpecError
from service.spec import Mode

Params = Mapping[str, Value]

NEAR_THE_END = 1.25  # full length is at least so many times a rung, the first one excepted


def rung_epochs(*, min_epochs: int, max_epochs: int, reduction_factor: int) -> tuple[int, ...]:
    """List the epochs at which a round is compared.

    The last rung is always `max_epochs`; one shortly before it would save less than it costs.

    Args:
        min_epochs: First rung, in epochs; at least 1.
        max_epochs: Last rung, in epochs.
        reduction_factor: One in this many goes on (eta in the paper); at least 2.

    Returns:
        Increasing epochs: (2, 30, 3) gives (2, 6, 18, 30).

    Raises:
        InvalidSpecError: A rule above does not hold.

    Source:
        Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification", Alg. 1.
    """
    if not 1 <= min_epochs <= max_epochs:
        raise InvalidSpecError(
            f"1 <= min_epochs <= max_epochs must hold, got {min_epochs=}, {max_epochs=}: "
            "lower search.rungs.min_epochs or raise budget.max_epochs_per_trial",
            field="search.rungs.min_epochs",
        )
    rungs: list[int] = []
    epoch = min_epochs
    while epoch < max_epochs and (not rungs or epoch * NEAR_THE_END <= max_epochs):
        rungs.append(epoch)
        epoch *= reduction_factor
    return (*rungs, max_epochs)


def num_kept(num_trials: int, reduction_factor: int) -> int:
    """Say how many of a round's trials go on from a rung: one in `reduction_factor`, rounded up."""
    return max(1, math.ceil(num_trials / reduction_factor))


def second_rung(rungs: Sequence[int]) -> int | None:
    """Give the second rung; None if that is full length.

    Who goes on from there was thought to get past the rival, and they are few: no more than one in the square of
    the reduction factor. Their long trainings alone would leave other slots idle.
    """
    return rungs[1] if len(rungs) > 2 else None


def round_cost(num_trials: int, rungs: Sequence[int], reduction_factor: int) -> int:
    """Count the epochs of a round in which nobody stops on their own: the most that it can cost."""
    cost, start = 0, 0
    for rung in rungs:
        cost += num_trials * (rung - start)
        start, num_trials = rung, num_kept(num_trials, reduction_factor)
    return cost


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the search sees of a trial.

    `values[epoch - 1]` is the objective after each trained epoch, None where it was not finite.
    """

    number: int
    stage: int
    round: int
    params: Params
    state: str
    values: tuple[float | None, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return len(self.values)


Forecast = Callable[[Sequence[Trial], int], Mapping[int, float]]  # running trials, rung -> losses at full length


@dataclass(frozen=True, kw_only=True)
class Round:
    """The candidates that a stage asks for at once, and how they are compared.

    Args:
        number: Counts from 0 in the job.
        stage: The stage's number.
        candidates: Full params of each candidate.
        rungs: Epochs of comparison, increasing.
        reduction_factor: One in this many goes on.
        rival: The incumbent's losses by epoch. From the second rung on, a candidate goes on only if it is at
            least as good as the rival was at the same epoch. Empty: no rival.
        answered_at: The rung at which the strategy is told how the round stands, and asks for the next one; those
            who go on from there are trained to their end beside it. None: it is told when the round is over.
        forecast: Who goes on is then decided by what a running trial is forecast to reach, against what the rival
            has reached, instead of by their values at the rung. It is given trials with a finite loss, and the
            rung. None: by the values.
    """

    number: int
    stage: int
    candidates: tuple[Params, ...]
    rungs: tuple[int, ...]
    reduction_factor: int
    rival: Mapping[int, float] = field(default_factory=dict)
    answered_at: int | None = None
    forecast: Forecast | None = None


def to_loss(value: float | None, mode: Mode) -> float:
    """Turn an objective value into one where lower is better; not finite is the worst."""
    if value is None or not math.isfinite(value):
        return math.inf
    return value if mode == "min" else -value


def loss_at(trial: Trial, epoch: int, mode: Mode) -> float:
    """Give the best loss up to an epoch: the best epoch's weights are the trial's.

    A trial that patience ended earlier keeps its value. A diverged or failed one has none.
    """
    if trial.state in ("diverged", "failed"):
        return math.inf
    return min((to_loss(value, mode) for value in trial.values[:epoch]), default=math.inf)


def losses_by_epoch(trial: Trial, mode: Mode, *, max_epochs: int) -> dict[int, float]:
    """Give `loss_at` for every epoch up to the last one."""
    losses, best = {}, math.inf
    for epoch in range(1, max_epochs + 1):
        if epoch <= len(trial.values):
            best = min(best, to_loss(trial.values[epoch - 1], mode))
        losses[epoch] = best
    return losses


def promote(round_: Round, trials: Sequence[Trial], rung: int, mode: Mode) -> set[int]:
    """Choose the trials of a round that go on from a rung.

    Args:
        round_: The round.
        trials: Those that reached the rung or were ended by patience before it; others may be among them.
        rung: The epoch of comparison.
        mode: Direction of the objective.

    Returns:
        Trial numbers: the best one in `reduction_factor` of those that started this leg, ties to the lower
        number, less those that are worse than the rival at the same epoch. With the round's forecast, losses are
        those at full length, for trials and rival alike.
    """
    losses = {t.number: loss_at(t, rung, mode) for t in trials if t.state in ("running", "completed")}
    losses = {number: loss for number, loss in losses.items() if math.isfinite(loss)}
    if round_.forecast:
        # Who is out of patience has reached what it can.
        losses |= round_.forecast([t for t in trials if t.number in losses and t.state == "running"], rung)
    ranked = sorted((loss, number) for number, loss in losses.items())
    kept = ranked[: num_kept(len(trials), round_.reduction_factor)]
    if round_.rival and rung > round_.rungs[0]:
        bar = round_.rival.get(round_.rungs[-1] if round_.forecast else rung, math.inf)
        kept = [(loss, number) for loss, number in kept if loss <= bar]
    return {number for _, number in kept}


class OpenRound:
    """A round under way: who is still in it, and to which rung they are trained.

    Args:
        round_: The round.
        trials: Of the job, by number; the candidates become the next of them. Who trains them keeps them up to
            date here.
        mode: Direction of the objective.
    """

    def __init__(self, round_: Round, trials: dict[int, Trial], mode: Mode) -> None:
        self.round = round_
        self.numbers = range(len(trials), len(trials) + len(round_.candidates))
        self.start = 0  # epochs that those who are in it have been trained
        self.is_over = False
        self.answer: tuple[Trial, ...] = ()  # what the strategy is told; empty until then
        self._trials, self._mode = trials, mode
        self._alive = list(self.numbers)
        for number, params in zip(self.numbers, round_.candidates, strict=True):
            trials[number] = Trial(
                number=number, stage=round_.stage, round=round_.number, params=params, state="running"
            )

    @property
    def rung(self) -> int:
        """The epoch of the next comparison."""
        return next(rung for rung in self.round.rungs if rung > self.start)

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that are to be trained to the rung."""
        return [number for number in self._alive if self._trials[number].state == "running"]

    def decide(self) -> list[int]:
        """Compare at the rung, to which all were trained; those who do not go on are stopped.

        Returns:
            The numbers of those.
        """
        self.start = rung = self.rung
        is_last = rung == self.round.rungs[-1]
        stopped = [] if is_last else self._compare(rung)
        self.is_over = is_last or not self.running
        if not self.answer and (self.is_over or rung == self.round.answered_at):
            # As it stands now: others may be trained further before the strategy is told.
            self.answer = tuple(self._trials[number] for number in self.numbers)
        return stopped

    def _compare(self, rung: int) -> list[int]:
        kept = promote(self.round, [self._trials[number] for number in self._alive], rung, self._mode)
        stopped = [number for number in self.running if number not in kept]
        for number in stopped:
            self._trials[number] = replace(self._trials[number], state="stopped")
        # Who patience ended keeps its place in the comparison, and needs no more training.
        self._alive = [number for number in self._alive if number in kept]
        return stopped
