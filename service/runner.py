"""The deterministic program that runs one job: strategy -> rounds -> legs -> record -> strategy.

Every leg's result is in the store before it is used. To resume after any crash is to run the program again:
legs on record answer at once, the one that was cut off is trained again.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces import SearchSpace
from service.cohorts import Shape, alone, form_cohorts
from service.engine.base import Engine
from service.errors import JobFailedError
from service.legs import Leg, LegResult, Measurement, Member
from service.search import Plan, Round, StageOutcome, Trial, make_strategy, promote
from service.search.importance import importances
from service.store import CheckpointFiles, NewTrial, Store


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


def trial_seed(job_seed: int, number: int) -> int:
    """Derive a trial's seed from the job's; everything random in a trial follows from it and the epoch."""
    digest = hashlib.sha256(f"{job_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def leg_fingerprint(leg: Leg) -> str:
    """Hash what a leg's result follows from, beside the job's own settings and data."""
    body = {
        "key": leg.key,
        "epochs": [leg.start_epoch, leg.end_epoch],
        "members": [[m.number, m.seed, dict(m.params)] for m in leg.members],
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


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
    shape: Shape = alone
    lr_range: tuple[float, float] | None = None
    wall_clock_s: float | None = None
    observer: Observer | None = None
    at_leg_end: Callable[[], None] | None = None
    _trials: dict[int, Trial] = field(default_factory=dict, init=False)
    _outcomes: list[StageOutcome] = field(default_factory=list, init=False)
    _stage: int = field(default=0, init=False)
    _replayed: int = field(default=0, init=False)
    _deadline: float = field(default=math.inf, init=False)

    def run(self) -> Outcome:
        """Run the strategy to its end, or to the end of the wall-clock budget.

        Raises:
            JobFailedError: No trial gave a finite value of the objective; says why they ended.
        """
        if self.wall_clock_s is not None:
            self._deadline = time.monotonic() + self.wall_clock_s
        self._strategy = make_strategy(self.plan, self.space, seed=self.seed, lr_range=self.lr_range)
        out_of_time = False
        try:
            self._climb()
        except OutOfTimeError:
            out_of_time = True
            self._strategy.history.add(self._close_open_trials())
        best = self._strategy.history.best()
        if best is None:
            raise JobFailedError(self._why_nothing_worked(out_of_time))
        return Outcome(
            best=best,
            out_of_time=out_of_time,
            num_trials=len(self._trials),
            num_epochs=sum(trial.epochs for trial in self._trials.values()),
            importances=importances(
                self.space, list(self._trials.values()), mode=self.plan.mode, epoch=self.plan.rungs[0]
            ),
        )

    def _climb(self) -> None:
        rounds = self._strategy.rounds()
        try:
            asked = next(rounds)
            while True:
                if isinstance(asked, Round):
                    self._stage = asked.stage
                    trials = self._run_round(asked)
                    self._give_up_if_all_failed()
                    asked = rounds.send(trials)
                else:
                    self.store.record_stage_outcome(self.job_id, asked.stage, _outcome_record(asked))
                    self._outcomes.append(asked)
                    self._tell_observer()
                    asked = next(rounds)
        except StopIteration:
            return

    def _give_up_if_all_failed(self) -> None:
        """End after a first round in which every trial raised: that is no matter of hyperparameters."""
        if all(trial.state == "failed" and not trial.epochs for trial in self._trials.values()):
            raise JobFailedError(self._why_nothing_worked(out_of_time=False))

    def _run_round(self, round_: Round) -> tuple[Trial, ...]:
        numbers = self._open_trials(round_)
        alive, start = list(numbers), 0
        for rung in round_.rungs:
            self._run_legs(self._cut(round_, alive, start, rung))
            if rung == round_.rungs[-1]:
                break
            kept = promote(round_, [self._trials[n] for n in alive], rung, self.plan.mode)
            stopped = [n for n in alive if n not in kept and self._trials[n].state == "running"]
            self._stop(stopped)
            # Who patience ended keeps its place in the comparison, and needs no more training.
            alive = [n for n in alive if n in kept]
            if not any(self._trials[n].state == "running" for n in alive):
                break
            start = rung
        self._forget_checkpoints(numbers)
        return tuple(self._trials[number] for number in numbers)

    def _open_trials(self, round_: Round) -> list[int]:
        first = len(self._trials)
        opened = [
            NewTrial(number=number, params=dict(params), seed=trial_seed(self.seed, number))
            for number, params in enumerate(round_.candidates, start=first)
        ]
        self.store.record_round(
            self.job_id, stage=round_.stage, round_number=round_.number, trials=opened, rungs=round_.rungs
        )
        for new in opened:
            self._trials[new.number] = Trial(
                number=new.number, stage=round_.stage, round=round_.number, params=new.params, state="running"
            )
        return [new.number for new in opened]

    def _cut(self, round_: Round, alive: Sequence[int], start: int, end: int) -> list[Leg]:
        """Cut a rung's training into legs, one for each cohort."""
        cohorts = form_cohorts(
            (n for n in alive if self._trials[n].state == "running"),
            lambda number: self._trials[number].params,
            shape=self.shape,
            size=self.plan.cohort_size,
        )
        return [
            Leg(
                key=f"r{round_.number:04d}-e{end:04d}-c{index:02d}",
                members=tuple(
                    Member(number=number, params=self._trials[number].params, seed=trial_seed(self.seed, number))
                    for number in cohort
                ),
                start_epoch=start,
                end_epoch=end,
            )
            for index, cohort in enumerate(cohorts)
        ]

    def _run_legs(self, legs: Sequence[Leg]) -> None:
        """Answer legs from the record where they are on it, and have the engine train the others."""
        missing = []
        for leg in legs:
            recorded = self.store.leg_result(self.job_id, leg.key, leg_fingerprint(leg))
            if recorded is None:
                missing.append(leg)
            else:
                self._replayed += 1
                self._take(recorded)
        if not missing:
            return
        self._look_up()
        by_key = {leg.key: leg for leg in missing}
        for result in self.engine.run([self._with_checkpoints(leg) for leg in missing]):
            leg = by_key.pop(result.key)
            self._record(leg, result)
            self._take(result)
            self._tell_observer()
            if by_key:
                self._look_up()

    def _with_checkpoints(self, leg: Leg) -> Leg:
        if leg.start_epoch == 0:
            return leg
        return replace(
            leg,
            members=tuple(
                replace(m, checkpoint=self.checkpoints.read(self.job_id, m.number, leg.start_epoch))
                for m in leg.members
            ),
        )

    def _record(self, leg: Leg, result: LegResult) -> None:
        """Write checkpoints first, then the leg: what is on record can always go on."""
        kept = {
            (member.number, leg.start_epoch + len(member.measurements)): member.checkpoint
            for member in result.members
            if member.checkpoint is not None and member.state in ("running", "completed")
        }
        self.checkpoints.write_all(self.job_id, kept)
        self.store.record_leg(self.job_id, leg, result, leg_fingerprint(leg))

    def _take(self, result: LegResult) -> None:
        for member in result.members:
            trial = self._trials[member.number]
            values = tuple(self._objective(m) for m in member.measurements)
            self._trials[member.number] = replace(trial, state=member.state, values=trial.values + values)

    def _objective(self, measurement: Measurement) -> float | None:
        return measurement.metrics.get(self.plan.metric)

    def _stop(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        self.store.stop_trials(self.job_id, numbers)
        for number in numbers:
            self._trials[number] = replace(self._trials[number], state="stopped")

    def _forget_checkpoints(self, numbers: Sequence[int]) -> None:
        """Keep one checkpoint when a round is over: the best trial's, at its last epoch."""
        history = self._strategy.history
        candidates = [*(t for t in [history.best()] if t), *(self._trials[n] for n in numbers)]
        best = history.best_of(candidates)
        for number, epoch in self.checkpoints.kept(self.job_id):
            # While a finished round is answered from the record, the files are of later rounds.
            known = number in self._trials
            if known and (best is None or (number, epoch) != (best.number, best.epochs)):
                self.checkpoints.delete(self.job_id, number, epoch)

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
        told = {trial.number for trial in self._strategy.history.trials}
        untold = [trial for number, trial in self._trials.items() if number not in told]
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
                epochs=sum(trial.epochs for trial in self._trials.values()),
                states=dict(Counter(trial.state for trial in self._trials.values())),
                incumbent=incumbent,
                incumbent_value=value,
                outcomes=tuple(self._outcomes),
                replayed_legs=self._replayed,
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
