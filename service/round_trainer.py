"""Rounds trained leg by leg: answered from the record where a leg is on it, by the engine where not.

What is on record follows from the rounds alone, in whatever order legs end: a rung is decided when all its legs
are there, and a round's answer is taken down at its rung.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from service.cohorts import ShapeOf, form_cohorts
from service.engine.base import Engine
from service.legs import Leg, LegResult, Measurement, Member
from service.search import History, OpenRound, Plan, Round, Trial
from service.store import CheckpointFiles, NewTrial, Store


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
class RoundTrainer:
    """Trains the rounds of one job.

    Args:
        store: The job is in it, with its plan.
        checkpoints: Where members' states lie between legs.
        job_id: The job.
        plan: Its plan.
        seed: Of the job.
        engine: Trains legs.
        shape: Says which trials may be trained together.
        history: What the search has been told.
        look_up: Asked before legs are handed out and between their results; what it raises ends the training.
        on_leg: Called after every recorded leg.
    """

    store: Store
    checkpoints: CheckpointFiles
    job_id: str
    plan: Plan
    seed: int
    engine: Engine
    shape: ShapeOf
    history: History
    look_up: Callable[[], None]
    on_leg: Callable[[], None]
    trials: dict[int, Trial] = field(default_factory=dict, init=False)
    num_replayed: int = field(default=0, init=False)  # legs that were answered from the record
    _open: list[OpenRound] = field(default_factory=list, init=False)  # oldest first
    _late: list[int] = field(default_factory=list, init=False)  # trials that were running in the last answer
    _legs: dict[str, tuple[Leg, OpenRound]] = field(default_factory=dict, init=False)  # that the engine has
    _results: Iterator[LegResult] = field(default_factory=lambda: iter(()), init=False)  # of those

    def train(self, round_: Round) -> tuple[Trial, ...]:
        """Train a round to where the strategy is to be told, and the round before it to its end.

        Returns:
            Trials that were running in the answer before, as they ended, and those of the round.
        """
        before = list(self._open)
        now = self._open_round(round_)
        self._train_on(now)
        self._train_while(lambda: not now.answer or any(one in self._open for one in before))
        ended = self._take_late()
        self._late = [trial.number for trial in now.answer if trial.state == "running"]
        return (*ended, *now.answer)

    def train_rest(self) -> tuple[Trial, ...]:
        """Train every round to its end, and give the trials that were running in the last answer."""
        self._train_while(lambda: bool(self._open))
        return self._take_late()

    def drop(self) -> None:
        """Let go of the legs that the engine has; the rounds end here."""
        self._legs.clear()
        self._results = iter(())  # an engine drops what nobody waits for

    def _take_late(self) -> tuple[Trial, ...]:
        """Give the trials that were running in the last answer, and have ended."""
        late, self._late = self._late, []
        return tuple(self.trials[number] for number in late)

    def _open_round(self, round_: Round) -> OpenRound:
        opened = OpenRound(round_, self.trials, self.plan.mode)
        self.store.record_round(
            self.job_id,
            stage=round_.stage,
            round_number=round_.number,
            trials=[
                NewTrial(number=number, params=dict(params), seed=trial_seed(self.seed, number))
                for number, params in zip(opened.numbers, round_.candidates, strict=True)
            ],
            rungs=round_.rungs,
        )
        self._open.append(opened)
        return opened

    def _train_while(self, is_needed: Callable[[], bool]) -> None:
        """Take results as they come; what follows from one is handed to the engine before the next is taken."""
        while is_needed():
            result = next(self._results)
            leg, opened = self._legs.pop(result.key)
            self._record(leg, result)
            self._take(result)
            self.on_leg()
            if all(other is not opened for _, other in self._legs.values()):
                self._decide(opened)
                self._train_on(opened)
            elif self._legs:
                self.look_up()

    def _train_on(self, opened: OpenRound) -> None:
        """Train a round from rung to rung: by legs on record where there are any, by the engine where not."""
        while opened in self._open:
            missing = self._answer_from_record(self._cut(opened))
            if missing:
                self.look_up()
                self._hand_over(missing, opened)
                return
            self._decide(opened)

    def _decide(self, opened: OpenRound) -> None:
        """Compare at a rung that all have reached."""
        if stopped := opened.decide():
            self.store.stop_trials(self.job_id, stopped)
        if opened.is_over:
            self._open.remove(opened)
            self._forget_checkpoints()

    def _cut(self, opened: OpenRound) -> list[Leg]:
        """Cut a rung's training into legs, one for each cohort."""
        cohorts = form_cohorts(
            opened.running,
            lambda number: self.trials[number].params,
            shape=self.shape,
            size=self.plan.cohort_size,
        )
        return [
            Leg(
                key=f"r{opened.round.number:04d}-e{opened.rung:04d}-c{index:02d}",
                members=tuple(
                    Member(number=number, params=self.trials[number].params, seed=trial_seed(self.seed, number))
                    for number in cohort
                ),
                start_epoch=opened.start,
                end_epoch=opened.rung,
            )
            for index, cohort in enumerate(cohorts)
        ]

    def _answer_from_record(self, legs: Sequence[Leg]) -> list[Leg]:
        """Take the results that are on record; give the legs that are not."""
        missing = []
        for leg in legs:
            recorded = self.store.leg_result(self.job_id, leg.key, leg_fingerprint(leg))
            if recorded is None:
                missing.append(leg)
            else:
                self.num_replayed += 1
                self._take(recorded)
        return missing

    def _hand_over(self, legs: Sequence[Leg], opened: OpenRound) -> None:
        packed = [self._with_checkpoints(leg) for leg in legs]
        if self._legs:
            self.engine.add(packed)
        else:
            self._results = self.engine.run(packed)
        self._legs |= {leg.key: (leg, opened) for leg in legs}

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
            trial = self.trials[member.number]
            values = tuple(self._objective(m) for m in member.measurements)
            self.trials[member.number] = replace(trial, state=member.state, values=trial.values + values)

    def _objective(self, measurement: Measurement) -> float | None:
        return measurement.metrics.get(self.plan.metric)

    def _forget_checkpoints(self) -> None:
        """Keep one checkpoint of rounds that are over: the best trial's, at its last epoch."""
        still_open = {number for opened in self._open for number in opened.numbers}
        # Not the history's best: of a round that ended beside another one the search has not heard yet.
        best = self.history.best_of(trial for number, trial in self.trials.items() if number not in still_open)
        for number, epoch in self.checkpoints.kept(self.job_id):
            # While a finished round is answered from the record, the files are of later rounds.
            known = number in self.trials and number not in still_open
            if known and (best is None or (number, epoch) != (best.number, best.epochs)):
                self.checkpoints.delete(self.job_id, number, epoch)
