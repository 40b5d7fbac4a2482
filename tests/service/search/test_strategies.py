"""Strategies, driven by a formula instead of a training: what they promise whatever the answers are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import get_space
from service.documents import parse_spec
from service.errors import InvalidSpecError
from service.search import OpenRound, Plan, Round, StageOutcome, Trial, make_plan, make_strategy

Curve = Callable[[dict, int], float | None]


def smooth(params: dict, epoch: int) -> float:
    """A valley in lr and dropout that shows more of itself with each epoch."""
    return 1 - 0.1 * (math.log10(params["lr"]) + 2.3) ** 2 - (params["dropout"] - 0.3) ** 2 - 0.5 / epoch


def make(strategy: str, *, seed: int = 0, epochs: int = 400, family: str = "mlp", **search) -> tuple:
    body = {"family": family, "data": {"name": "digits"}, "budget": {"epochs": epochs, "max_epochs_per_trial": 20}}
    spec = parse_spec(body | {"search": {"strategy": strategy} | search})
    plan = make_plan(spec, get_space(family), metric="val_accuracy", mode="max")
    return plan, make_strategy(plan, get_space(family), seed=seed)


def drive(plan: Plan, strategy, curve: Curve) -> tuple[list[Trial], list[StageOutcome]]:
    """Answer every round as a runner would."""
    trials: dict[int, Trial] = {}
    outcomes: list[StageOutcome] = []
    before, late = None, []
    rounds = strategy.rounds()
    asked = next(rounds)
    try:
        while True:
            if isinstance(asked, StageOutcome):
                outcomes.append(asked)
                asked = next(rounds)
                continue
            opened = OpenRound(asked, trials, plan.mode) if isinstance(asked, Round) else None
            while opened and not opened.answer:
                train(plan, opened, trials, curve)
            while before and not before.is_over:
                train(plan, before, trials, curve)
            numbers = [*late, *(opened.numbers if opened else ())]
            before, late = opened, opened.running if opened else []
            asked = rounds.send(tuple(trials[n] for n in numbers))
    except StopIteration:
        return list(trials.values()), outcomes


def train(plan: Plan, opened: OpenRound, trials: dict[int, Trial], curve: Curve) -> None:
    """Take a round to its next rung."""
    for n in opened.running:
        values = tuple(curve(dict(trials[n].params), e) for e in range(1, opened.rung + 1))
        bad = any(v is None for v in values)
        state = "diverged" if bad else "completed" if opened.rung == plan.max_epochs else "running"
        trials[n] = replace(trials[n], values=values, state=state)
    opened.decide()


@pytest.mark.parametrize("strategy", ["ladder", "joint", "random"])
def test_a_strategy_stays_inside_its_budget_and_uses_most_of_it(strategy: str) -> None:
    plan, made = make(strategy)
    trials, _ = drive(plan, made, smooth)
    spent = sum(trial.epochs for trial in trials)
    assert 0.85 * plan.budget_epochs < spent <= plan.budget_epochs


@pytest.mark.parametrize("strategy", ["ladder", "joint", "random"])
def test_the_same_seed_asks_for_the_same_trials_and_another_seed_for_others(strategy: str) -> None:
    runs = [drive(*make(strategy, seed=seed), smooth)[0] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert [t.params for t in runs[0]] != [t.params for t in runs[2]]


@pytest.mark.parametrize("strategy", ["ladder", "joint"])
def test_the_first_trial_is_the_familys_default(strategy: str) -> None:
    trials, _ = drive(*make(strategy), smooth)
    assert trials[0].params == get_space("mlp").defaults()


@pytest.mark.parametrize("strategy", ["ladder", "joint", "random"])
def test_no_params_are_trained_twice(strategy: str) -> None:
    trials, _ = drive(*make(strategy), smooth)
    seen = [tuple(sorted(trial.params.items())) for trial in trials]
    assert len(set(seen)) == len(seen)


def test_the_ladder_finds_what_overtakes_an_incumbent_that_was_ahead_at_every_rung() -> None:
    default = get_space("mlp").defaults()

    def crossing(params: dict, epoch: int) -> float:
        return 0.8 if params == default else smooth(params, 20) * (0.3 + 0.7 * epoch / 20)

    trials, _ = drive(*make("ladder", epochs=1000), crossing)
    assert trials[0].params == default
    assert trials[0].state == "completed"
    assert max(t.values[-1] for t in trials if t.state == "completed") > 0.9


def test_a_stage_of_the_ladder_changes_only_what_it_opens() -> None:
    plan, made = make("ladder", epochs=2000)
    incumbents: dict[int, dict] = {}
    trials, outcomes = drive(plan, made, smooth)
    for stage in plan.stages[:-1]:
        before = [t for t in trials if t.stage < stage.number and t.state == "completed"]
        base = (
            min(before, key=lambda t: (-max(t.values), t.number)).params if before else get_space("mlp").defaults()
        )
        incumbents[stage.number] = dict(base)
        for trial in (t for t in trials if t.stage == stage.number):
            changed = {name for name, value in trial.params.items() if value != base[name]}
            assert changed <= set(stage.opens), stage.name
    assert [o.stage for o in outcomes] == [s.number for s in plan.stages]


def test_the_ladder_finds_the_valley() -> None:
    trials, _ = drive(*make("ladder"), smooth)
    best = max((t for t in trials if t.state == "completed"), key=lambda t: max(t.values))
    assert best.params["lr"] == pytest.approx(10**-2.3, rel=0.6)


def test_an_outcome_says_what_was_gained_and_why() -> None:
    _, outcomes = drive(*make("ladder"), smooth)
    assert "first incumbent" in outcomes[0].why
    for outcome in outcomes[1:]:
        assert ("improves" if outcome.adopted else "stays") in outcome.why
        assert (outcome.gain or 0) > 0 or not outcome.adopted


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["ladder", "joint", "random"]),
    st.sampled_from(["mlp", "cnn", "rnn"]),
    st.integers(32, 400),
    st.integers(0, 5),
)
def test_answers_that_are_noise_or_missing_never_break_a_strategy(strategy, family, epochs, seed) -> None:
    def noise(params: dict, epoch: int) -> float | None:
        chance = hash((str(params), epoch, seed)) % 100
        return None if chance < 5 else chance / 100

    plan, made = make(strategy, seed=seed, epochs=epochs, family=family)
    trials, outcomes = drive(plan, made, noise)
    assert sum(trial.epochs for trial in trials) <= epochs
    assert len(outcomes) == len(plan.stages)


@pytest.mark.parametrize("strategy", ["ladder", "joint", "random"])
def test_when_every_trial_diverges_the_strategy_ends(strategy: str) -> None:
    plan, made = make(strategy, epochs=120)
    trials, outcomes = drive(plan, made, lambda params, epoch: None)
    assert trials
    assert made.history.best() is None
    assert outcomes[-1].adopted is False


def test_a_budget_below_one_round_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"budget.epochs: the budget must hold one round of 2 candidates"):
        make("ladder", epochs=10)


def test_stages_that_the_budget_does_not_reach_are_named() -> None:
    plan, _ = make("ladder", epochs=100)
    assert plan.stages[0].name == "lr"
    assert plan.left_out
    assert sum(stage.max_epochs for stage in plan.stages) <= 100


def test_a_plan_can_be_written_as_json() -> None:
    import json

    plan, _ = make("ladder")
    assert json.loads(json.dumps(plan.to_dict()))["stages"][0]["name"] == "lr"


def test_importance_names_what_the_formula_depends_on() -> None:
    from service.search.importance import importances

    plan, made = make("random", epochs=600)
    trials, _ = drive(plan, made, lambda p, e: 1 - abs(math.log10(p["lr"]) + 2.3) - 0.1 / e)
    shares = importances(get_space("mlp"), trials, mode="max", epoch=plan.rungs[0])
    assert next(iter(shares)) == "lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(get_space("mlp"), trials[:5], mode="max", epoch=plan.rungs[0]) == {}


def test_starting_points_are_the_middle_and_the_farthest_winners() -> None:
    from service.search.prior import starting_points

    space = get_space("mlp")
    winners = [space.defaults() | {"lr": lr} for lr in (1e-4, 1e-3, 1e-2)]
    starts = starting_points(space, winners, count=3)
    rates = [start["lr"] for start in starts]
    assert rates[0] == pytest.approx(1e-3)
    assert sorted(rates[1:]) == [1e-4, 1e-2]
    assert starting_points(space, []) == ()
    assert starting_points(space, [{"lr": 99.0, "unknown": 1}])[0] == space.defaults()


def test_a_prior_makes_a_first_stage_that_compares_winners_with_the_defaults() -> None:
    spec = parse_spec({"family": "mlp", "data": {"name": "digits"}, "search": {"prior": "history"}})
    space = get_space("mlp")
    plan = make_plan(spec, space, metric="val_accuracy", mode="max", starts=(space.defaults() | {"lr": 0.005},))
    assert plan.stages[0].name == "start"
    trials, outcomes = drive(plan, make_strategy(plan, space, seed=0), smooth)
    assert [t.params["lr"] for t in trials if t.stage == 0] == [space.defaults()["lr"], 0.005]
    assert outcomes[0].adopted
