"""The deterministic program that runs one job: strategy -> rounds -> legs -> record -> strategy.

Every leg's result is in the store before it is used. To resume after any crash is to run the program again:
legs on record answer at once, the one that was cut off is trained again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces import SearchSpace
from service.cohorts import ShapeOf, alone
from service.engine.base import Engine
from service.errors import JobFailedError
from service.round_trainer import RoundTrainer
from service.search import Plan, Rest, Round, StageOutcome, Trial, make_strategy
from service.search.importance import importances
from service.store import CheckpointFiles, Store


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running job stands, for whoever watches."""

    job_id: str
    stage: int
    epochs: int  # trained so far
    states: dict[str, int]  # trials by state
    incumbent: Trial | None
    incumbent_value: float | None
    outcomes: tuple[StageOutcome, ...]
    replayed_legs: int  # answered from the record


Observer = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job's search ended."""

    best: Trial
    out_of_time: bool
    num_trials: int
    num_epochs: int
    importances: dict[str, float]  # of the hyperparameters, highest first


class OutOfTimeError(Exception):
    """The wall-clock budget is spent; raised at the end of a leg and caught by the runner."""


@dataclass
class Runner:
    """Runs one job to its end.

    Args:
        store: The job is in it, with its plan.
        checkpoints: Where members' states lie between legs.
        job_id: The job.
        plan: Its plan.
        space: What may vary.
        seed: Of the job.
        engine: Trains legs.
        shape: Says which trials may be trained together.
        lr_range: Learning rates for the first stage that opens them, where a range test has narrowed them.
        wall_clock_s: Time that the job may still run; None for no limit.
        observer: Hears about every recorded leg and every ended stage.
        at_leg_end: Asked before the next leg begins; what it raises ends the run.
    """

    store: Store
    checkpoints: CheckpointFiles
    job_id: str
    plan: Plan
    space: SearchSpace
    seed: int
    engine: Engine
    shape: ShapeOf = alone
    lr_range: tuple[float, float] | None = None
    wall_clock_s: float | None = None
    observer: Observer | None = None
    at_leg_end: Callable[[], None] | None = None
    _outcomes: list[StageOutcome] = field(default_factory=list, init=False)
    _stage: int = field(default=0, init=False)
    _deadline: float = field(default=math.inf, init=False)

    def run(self) -> Outcome:
        """Run the strategy to its end, or to the end of the wall-clock budget.

        Raises:
            JobFailedError: No trial gave a finite value of the objective; says why they ended.
        """
        if self.wall_clock_s is not None:
            self._deadline = time.monotonic() + self.wall_clock_s
        self._strategy = make_strategy(self.plan, self.space, seed=self.seed, lr_range=self.lr_range)
        self._trainer = RoundTrainer(
            store=self.store,
            checkpoints=self.checkpoints,
            job_id=self.job_id,
            plan=self.plan,
            seed=self.seed,
            engine=self.engine,
            shape=self.shape,
            history=self._strategy.history,
            look_up=self._look_up,
            on_leg=self._tell_observer,
        )
        out_of_time = False
        try:
            self._climb()
        except OutOfTimeError:
            out_of_time = True
            self._strategy.history.add(self._close_open_trials())
        finally:
            self._trainer.drop()
        best = self._strategy.history.best()
        if best is None:
            raise JobFailedError(self._why_nothing_worked(out_of_time))
        return Outcome(
            best=best,
            out_of_time=out_of_time,
            num_trials=len(self._trainer.trials),
            num_epochs=sum(trial.epochs for trial in self._trainer.trials.values()),
            importances=importances(
                self.space, list(self._trainer.trials.values()), mode=self.plan.mode, epoch=self.plan.rungs[0]
            ),
        )

    def _climb(self) -> None:
        rounds = self._strategy.rounds()
        answer: tuple[Trial, ...] | None = None
        while True:
            try:
                asked = rounds.send(answer)
            except StopIteration:
                return
            answer = None
            match asked:
                case Round():
                    self._stage = asked.stage
                    answer = self._trainer.train(asked)
                    self._give_up_if_all_failed()
                case Rest():
                    answer = self._trainer.train_rest()
                case StageOutcome():
                    self.store.record_stage_outcome(self.job_id, asked.stage, _outcome_record(asked))
                    self._outcomes.append(asked)
                    self._tell_observer()

    def _give_up_if_all_failed(self) -> None:
        """End after a first round in which every trial raised: that is no matter of hyperparameters."""
        if all(trial.state == "failed" and not trial.epochs for trial in self._trainer.trials.values()):
            raise JobFailedError(self._why_nothing_worked(out_of_time=False))

    def _look_up(self) -> None:
        """Between two legs: may the job go on?"""
        if self.at_leg_end is not None:
            self.at_leg_end()
        if time.monotonic() > self._deadline:
            raise OutOfTimeError

    def _close_open_trials(self) -> list[Trial]:
        """Give the trials that no strategy was told of; those that the end of the time cut off are cancelled.

        The store cancels them when the job ends.
        """
        told = {trial.number for trial in self._strategy.history.trials if trial.state != "running"}
        untold = [trial for number, trial in self._trainer.trials.items() if number not in told]
        return [replace(t, state="cancelled") if t.state == "running" else t for t in untold]

    def _why_nothing_worked(self, out_of_time: bool) -> str:
        if out_of_time:
            return "no trial ended its first rung before the wall-clock budget was spent: raise budget.wall_clock"
        records = self.store.trials(self.job_id)
        states = Counter(record.state.value for record in records)
        messages = Counter(record.message for record in records if record.message)
        counted = ", ".join(f"{count} {state}" for state, count in states.most_common())
        reason = f"; most often: {messages.most_common(1)[0][0]}" if messages else ""
        return f"no trial gave a finite {self.plan.metric} ({counted}){reason}"

    def _tell_observer(self) -> None:
        if self.observer is None:
            return
        incumbent = self._strategy.history.incumbent
        value = None
        if incumbent is not None:
            loss = self._strategy.history.incumbent_loss
            value = loss if self.plan.mode == "min" else -loss
        self.observer(
            Progress(
                job_id=self.job_id,
                stage=self._stage,
                epochs=sum(trial.epochs for trial in self._trainer.trials.values()),
                states=dict(Counter(trial.state for trial in self._trainer.trials.values())),
                incumbent=incumbent,
                incumbent_value=value,
                outcomes=tuple(self._outcomes),
                replayed_legs=self._trainer.num_replayed,
            )
        )


def _outcome_record(outcome: StageOutcome) -> dict[str, Any]:
    return {
        "num_trials": outcome.num_trials,
        "epochs": outcome.epochs,
        "adopted": outcome.adopted,
        "gain": outcome.gain,
        "why": outcome.why,
    }
