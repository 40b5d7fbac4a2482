"""The runner: what is on record follows from plan and seed, whatever the order in which legs end."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from planned_jobs import begin_planned_job

from search_spaces import get_space
from service.cohorts import alone
from service.documents import parse_spec
from service.engine.replay import ReplayEngine
from service.legs import Leg, LegResult
from service.round_trainer import RoundTrainer
from service.runner import Outcome, Runner
from service.search import History, Plan, Round, make_plan
from service.store import CheckpointFiles, Store, sqlite_url

MAX_EPOCHS = 10
SPACE = get_space("mlp")


class Valley:
    """Curves with their best lr and dropout inside the space; some of them diverge, some end flat."""

    def curve(self, params: Mapping[str, Any]) -> Sequence[float]:
        """Give a loss that shows more of itself with each epoch."""
        if params["lr"] > 0.05:
            return [math.nan] * MAX_EPOCHS
        depth = (math.log10(params["lr"]) + 2.3) ** 2 + (params["dropout"] - 0.3) ** 2
        return [depth + (1 + params["dropout"]) / epoch for epoch in range(1, MAX_EPOCHS + 1)]


class AnyOrder(ReplayEngine):
    """Answers the legs that are open in an order of its own, as slots do that are not equally fast."""

    def __init__(self, seed: int) -> None:
        super().__init__(Valley(), metric="val_loss", max_epochs=MAX_EPOCHS)
        self._random = random.Random(seed)
        self.most_rounds_at_once = 0

    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        """Begin in an order of its own."""
        results = super().run(legs)
        self._mix()
        return results

    def add(self, legs: Sequence[Leg]) -> None:
        """Take further legs before or after those that are there."""
        super().add(legs)
        self._mix()

    def _mix(self) -> None:
        assert self._queue is not None
        self._random.shuffle(self._queue)
        rounds = {leg.key.partition("-")[0] for leg in self._queue}
        self.most_rounds_at_once = max(self.most_rounds_at_once, len(rounds))


class BrokenOffError(Exception):
    """The end of a process, between two legs."""


@pytest.fixture
def plan() -> Plan:
    body = {
        "family": "mlp",
        "data": {"name": "digits"},
        "budget": {"epochs": 300, "max_epochs_per_trial": MAX_EPOCHS},
        "search": {"candidates": 5},
    }
    return make_plan(parse_spec(body), SPACE, metric="val_loss", mode="min")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(sqlite_url(tmp_path / "store.db")) as store:
        yield store


def begin(store: Store, plan: Plan) -> str:
    return begin_planned_job(store, plan, name="valley", seed=5)


def run(
    store: Store, plan: Plan, job_id: str, engine: AnyOrder, files: Path, *, legs: int | None = None
) -> Outcome:
    """Run a job, or break it off when so many legs are on record."""

    def look() -> None:
        if legs is not None and len(store.legs(job_id)) >= legs:
            raise BrokenOffError

    return Runner(
        store=store,
        checkpoints=CheckpointFiles(files),
        job_id=job_id,
        plan=plan,
        space=SPACE,
        seed=5,
        engine=engine,
        at_leg_end=look,
    ).run()


def story(store: Store, job_id: str) -> dict[str, Any]:
    trials = store.trials(job_id)
    return {
        "stages": [(stage.number, stage.outcome) for stage in store.stages(job_id)],
        "rounds": [(round_.number, round_.stage) for round_ in store.rounds(job_id)],
        "trials": [(t.number, t.stage, t.params, t.seed, t.state, t.epochs, t.best_value) for t in trials],
        "legs": sorted((leg.key, leg.fingerprint) for leg in store.legs(job_id)),
    }


def test_the_order_in_which_legs_end_changes_nothing(plan: Plan, store: Store, tmp_path: Path) -> None:
    stories, best, overlaps = [], set(), []
    for seed in range(3):
        job_id, engine = begin(store, plan), AnyOrder(seed)
        best.add(run(store, plan, job_id, engine, tmp_path / str(seed)).best.number)
        stories.append(story(store, job_id))
        overlaps.append(engine.most_rounds_at_once)
    assert len(stories[0]["trials"]) > 50
    assert all(other == stories[0] for other in stories[1:])
    assert len(best) == 1
    assert overlaps == [2, 2, 2]  # a round begins while the last trials of the one before are trained


@pytest.mark.parametrize("legs", [1, 40, 75, 95])
def test_a_job_that_was_broken_off_goes_on_as_if_it_had_not_been(
    legs: int, plan: Plan, store: Store, tmp_path: Path
) -> None:
    whole, broken = begin(store, plan), begin(store, plan)
    run(store, plan, whole, AnyOrder(0), tmp_path / "whole")
    with pytest.raises(BrokenOffError):
        run(store, plan, broken, AnyOrder(1), tmp_path / "broken", legs=legs)
    run(store, plan, broken, AnyOrder(2), tmp_path / "broken")
    assert story(store, broken) == story(store, whole)


def test_legs_of_a_job_that_was_broken_off_are_let_go_of(plan: Plan, store: Store, tmp_path: Path) -> None:
    job_id, engine = begin(store, plan), AnyOrder(5)
    with pytest.raises(BrokenOffError):
        run(store, plan, job_id, engine, tmp_path, legs=20)
    with pytest.raises(RuntimeError, match="there is none"):  # no run is under way
        engine.add([])


def test_one_checkpoint_is_kept_in_the_end_and_it_is_the_winners(plan: Plan, store: Store, tmp_path: Path) -> None:
    job_id = begin(store, plan)
    best = run(store, plan, job_id, AnyOrder(3), tmp_path).best
    assert list(CheckpointFiles(tmp_path).kept(job_id)) == [(best.number, best.epochs)]


def test_the_best_of_a_round_that_the_search_has_not_heard_of_keeps_its_checkpoint(
    plan: Plan, store: Store, tmp_path: Path
) -> None:
    trainer = RoundTrainer(
        store=store,
        checkpoints=CheckpointFiles(tmp_path),
        job_id=begin(store, plan),
        plan=plan,
        seed=5,
        engine=ReplayEngine(Valley(), metric="val_loss", max_epochs=MAX_EPOCHS),
        shape=alone,
        history=History(mode="min", max_epochs=MAX_EPOCHS),
        look_up=lambda: None,
        on_leg=lambda: None,
    )

    def make_round(number: int, rates: list[float], rival: dict[int, float]) -> Round:
        return Round(
            number=number,
            stage=0,
            candidates=tuple(SPACE.defaults() | {"lr": rate} for rate in rates),
            rungs=plan.rungs,
            reduction_factor=plan.reduction_factor,
            answered_at=plan.rungs[1],
            rival=rival,
        )

    assert [trial.state for trial in trainer.train(make_round(0, [0.005, 0.002, 0.001], {}))] == [
        "running",
        "stopped",
        "stopped",
    ]
    unbeaten = dict.fromkeys(range(1, MAX_EPOCHS + 1), 0.0)
    ended = trainer.train(make_round(1, [0.004, 0.003, 0.0005], unbeaten))
    assert [(trial.number, trial.state) for trial in ended] == [
        (0, "completed"),
        (3, "stopped"),
        (4, "stopped"),
        (5, "stopped"),
    ]
    assert list(CheckpointFiles(tmp_path).kept(trainer.job_id)) == [(0, MAX_EPOCHS)]


def test_a_job_spends_its_budget_and_no_more(plan: Plan, store: Store, tmp_path: Path) -> None:
    job_id = begin(store, plan)
    outcome = run(store, plan, job_id, AnyOrder(4), tmp_path)
    assert 0.9 * plan.budget_epochs < outcome.num_epochs <= plan.budget_epochs
    assert {trial.state for trial in store.trials(job_id)} <= {"completed", "stopped", "diverged"}
