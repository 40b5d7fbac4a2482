"""What every strategy is: a deterministic program that asks for rounds and hears how they ended."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from search_spaces import SearchSpace
from service.search.history import History
from service.search.plan import Plan, Stage
from service.search.rounds import (
    Forecast,
    Params,
    Round,
    Trial,
    losses_by_epoch,
    round_cost,
    second_rung,
)


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """What came of a stage, in words that a person can follow."""

    stage: int
    num_trials: int
    epochs: int
    adopted: bool
    gain: float | None  # of the objective, in its own direction; None without a value before and after
    why: str


class Rest:
    """Asked for when a strategy wants to know how the trials ended that were running when it was last told."""


Asked = Round | Rest | StageOutcome
Rounds = Generator[Asked, "tuple[Trial, ...] | None", None]


class Strategy(Protocol):
    """Asks for rounds.

    `rounds` is a generator. It yields a `Round` and is sent that round's trials: ended, or as they stand where the
    round is `answered_at` a rung, with the ends of those that were running in the answer before. It yields `Rest`
    and is sent the ends alone. It yields a `StageOutcome` (sent None) when a stage is over, of which nothing runs
    any more. It depends on plan, space, seed and what it is sent alone: running it again with the same answers
    asks for the same rounds.
    """

    history: History

    def rounds(self) -> Rounds:
        """Ask for rounds until the budget is spent."""
        ...


class RoundMaker:
    """Counts rounds and epochs, so that no round is asked for that the budget cannot hold.

    Args:
        plan: The plan.
        space: What may vary.
    """

    def __init__(self, plan: Plan, space: SearchSpace) -> None:
        self.plan = plan
        self.space = space
        self.history = History(mode=plan.mode, max_epochs=plan.max_epochs)
        self._next = 0

    @property
    def epochs_left(self) -> int:
        """Epochs of the budget that no trial has spent yet."""
        return self.plan.budget_epochs - self.history.charged_epochs

    def affordable(self, wanted: int, rungs: tuple[int, ...] | None = None) -> int:
        """Say how many candidates a round can start with, at most `wanted`, at its full cost."""
        count = wanted
        while count and (
            round_cost(count, rungs or self.plan.rungs, self.plan.reduction_factor) > self.epochs_left
        ):
            count -= 1
        return count

    def fresh(self, candidates: Iterable[Params]) -> list[Params]:
        """Complete candidates and keep those that are new: nothing is trained twice."""
        new: list[Params] = []
        for candidate in candidates:
            full = self.space.complete(candidate)
            if not self.history.has(full) and full not in new:
                new.append(full)
        return new

    def make(
        self,
        stage: Stage,
        candidates: Iterable[Params],
        *,
        use_rival: bool,
        overlaps: bool = False,
        forecast: Forecast | None = None,
    ) -> Round:
        """Number a round.

        Args:
            stage: That asks for it.
            candidates: Full params of each.
            use_rival: Measure them against the incumbent as well.
            overlaps: Have it answered at its second rung.
            forecast: See `Round`.
        """
        incumbent = self.history.incumbent
        round_ = Round(
            number=self._next,
            stage=stage.number,
            candidates=tuple(candidates),
            rungs=self.plan.rungs,
            reduction_factor=self.plan.reduction_factor,
            answered_at=second_rung(self.plan.rungs) if overlaps else None,
            rival=losses_by_epoch(incumbent, self.plan.mode, max_epochs=self.plan.max_epochs)
            if use_rival and incumbent
            else {},
            forecast=forecast,
        )
        self._next += 1
        return round_

    def outcome(self, stage: Stage, before: Trial | None, trials_before: int, epochs_before: int) -> StageOutcome:
        """Say what a stage gained over the incumbent that it started from."""
        history = self.history
        after = history.incumbent
        adopted = after is not None and after is not before
        gain = history.loss(before) - history.loss(after) if before and after else None
        return StageOutcome(
            stage=stage.number,
            num_trials=len(history.trials) - trials_before,
            epochs=history.epochs - epochs_before,
            adopted=adopted,
            gain=gain,
            why=_reason(stage, before, after, gain, self.plan.metric),
        )


def _reason(stage: Stage, before: Trial | None, after: Trial | None, gain: float | None, metric: str) -> str:
    if after is None:
        return "no trial reached full length"
    opened = ", ".join(f"{name}={_text(after.params[name])}" for name in stage.opens[:4] if name in after.params)
    if before is None:
        return f"first incumbent: trial {after.number} ({opened})"
    if after is before:
        return f"trial {before.number} stays: nothing tried beat it at full length"
    return f"trial {after.number} ({opened}) improves {metric} by {gain:.4g}"


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
