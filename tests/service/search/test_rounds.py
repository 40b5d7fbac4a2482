"""Rungs and promotion: pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidSpecError
from service.search.history import History
from service.search.rounds import (
    OpenRound,
    Round,
    Trial,
    loss_at,
    num_kept,
    promote,
    round_cost,
    rung_epochs,
    second_rung,
)


def make_trial(number: int, *values: float | None, state: str = "running") -> Trial:
    return Trial(number=number, stage=0, round=0, params={"lr": 0.1}, state=state, values=values)


def make_round(*, rival: dict[int, float] | None = None) -> Round:
    return Round(number=0, stage=0, candidates=(), rungs=(2, 6, 18), reduction_factor=3, rival=rival or {})


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((2, 30, 3), (2, 6, 18, 30)),
        ((2, 20, 3), (2, 6, 20)),
        ((2, 23, 3), (2, 6, 18, 23)),
        ((1, 1, 2), (1,)),
        ((4, 5, 3), (4, 5)),
        ((1, 8, 2), (1, 2, 4, 8)),
    ],
)
def test_rungs_grow_by_the_factor_and_end_at_full_length(args, expected) -> None:
    low, high, factor = args
    assert rung_epochs(min_epochs=low, max_epochs=high, reduction_factor=factor) == expected


@given(st.integers(1, 20), st.integers(0, 300), st.integers(2, 5))
def test_rungs_always_increase(low: int, more: int, factor: int) -> None:
    rungs = rung_epochs(min_epochs=low, max_epochs=low + more, reduction_factor=factor)
    assert list(rungs) == sorted(set(rungs))
    assert rungs[-1] == low + more


def test_a_first_rung_behind_the_last_epoch_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"1 <= min_epochs <= max_epochs must hold, got min_epochs=5"):
        rung_epochs(min_epochs=5, max_epochs=4, reduction_factor=3)


def test_a_round_costs_what_its_survivors_train() -> None:
    assert num_kept(9, 3) == 3
    assert num_kept(1, 3) == 1
    assert round_cost(9, (2, 6, 18), 3) == 9 * 2 + 3 * 4 + 1 * 12


def test_the_best_third_goes_on_and_ties_go_to_the_lower_number() -> None:
    trials = [make_trial(0, 0.5, 0.6), make_trial(1, 0.5, 0.9), make_trial(2, 0.9, 0.2), make_trial(3, 0.1, 0.1)]
    assert promote(make_round(), trials, 2, "max") == {1, 2}


def test_values_that_are_not_finite_never_go_on() -> None:
    trials = [make_trial(0, None, None), make_trial(1, 0.1, 0.1), make_trial(2, 9.0, state="diverged")]
    assert promote(make_round(), trials, 2, "min") == {1}
    assert promote(make_round(), [make_trial(0, None)], 2, "min") == set()


def test_the_rival_counts_from_the_second_rung_on() -> None:
    trials = [make_trial(0, *[0.5] * 6)]
    rival = {2: 0.1, 6: 0.4, 18: 0.3}
    assert promote(make_round(rival=rival), trials, 2, "min") == {0}
    assert promote(make_round(rival=rival), trials, 6, "min") == set()
    assert promote(make_round(rival={6: 0.5}), trials, 6, "min") == {0}  # as good is good enough


def test_a_forecast_decides_by_what_is_reached_in_the_end_against_what_the_rival_has_reached() -> None:
    trials = [make_trial(0, *[0.2] * 6), make_trial(1, *[0.5] * 6), make_trial(2, *[0.9] * 6)]

    def forecast(running, rung):
        assert rung in (2, 6)
        return {trial.number: {0: 0.4, 1: 0.1, 2: 0.2}[trial.number] for trial in running}

    def kept(rung: int, rival: dict[int, float]) -> set[int]:
        return promote(replace(make_round(rival=rival), forecast=forecast), trials, rung, "min")

    assert kept(2, {}) == {1}
    assert kept(2, {18: 0.05}) == {1}  # the rival counts from the second rung on
    assert kept(6, {6: 0.01, 18: 0.1}) == {1}
    assert kept(6, {6: 0.90, 18: 0.05}) == set()


def test_a_forecast_is_asked_about_running_trials_with_finite_values_alone() -> None:
    ended = make_trial(0, 0.3, 0.2, state="completed")
    lost = make_trial(1, None, None)
    asked: list[int] = []

    def forecast(running, rung):
        asked.extend(trial.number for trial in running)
        return dict.fromkeys(asked, 0.25)

    round_ = replace(make_round(), forecast=forecast)
    assert promote(round_, [ended, lost, make_trial(2, 0.1, 0.1)], 2, "min") == {0}
    assert asked == [2]


def test_who_patience_ended_is_compared_with_the_best_value_it_had() -> None:
    ended = make_trial(0, 0.3, 0.2, 0.4, state="completed")
    assert loss_at(ended, 18, "min") == 0.2
    assert promote(make_round(), [ended, make_trial(1, *[0.3] * 6)], 6, "min") == {0}


def test_the_incumbent_is_the_best_at_full_length_and_ties_stay() -> None:
    history = History(mode="max", max_epochs=3)
    history.add([make_trial(0, 0.5, 0.6, 0.6, state="completed"), make_trial(1, 0.9, state="stopped")])
    assert history.incumbent is not None
    assert history.incumbent.number == 0
    history.add([make_trial(2, 0.6, 0.6, 0.6, state="completed")])
    assert history.incumbent.number == 0
    assert history.epochs == 7


def test_without_a_full_length_trial_the_best_is_the_one_that_came_furthest() -> None:
    history = History(mode="max", max_epochs=9)
    history.add([make_trial(0, 0.9, state="stopped"), make_trial(1, 0.2, 0.3, state="cancelled")])
    best = history.best()
    assert best is not None
    assert best.number == 1


@pytest.mark.parametrize(
    ("rungs", "expected"), [((2, 6, 18, 30), 6), ((2, 6, 10), 6), ((2, 6), None), ((6,), None)]
)
def test_the_second_rung_is_before_full_length(rungs, expected) -> None:
    assert second_rung(rungs) == expected


def open_round(values: list[list[float]], *, answered_at: int | None = None) -> tuple[OpenRound, dict[int, Trial]]:
    """Open a round whose trials would measure these losses, one for each epoch of rungs 1, 2 and 4."""
    candidates = tuple({"lr": 0.1 * number} for number in range(len(values)))
    round_ = Round(
        number=0, stage=0, candidates=candidates, rungs=(1, 2, 4), reduction_factor=2, answered_at=answered_at
    )
    trials: dict[int, Trial] = {}
    return OpenRound(round_, trials, "min"), trials


def train(opened: OpenRound, trials: dict[int, Trial], values: list[list[float]]) -> list[int]:
    for number in opened.running:
        state = "completed" if opened.rung == 4 else "running"
        trials[number] = replace(trials[number], values=tuple(values[number][: opened.rung]), state=state)
    return opened.decide()


def test_a_round_goes_from_rung_to_rung_and_stops_the_worse_half() -> None:
    values = [[0.4, 0.4, 0.4, 0.1], [0.3, 0.3, 0.3, 0.3], [0.35, 0.9, 0.9, 0.9], [0.5, 0.1, 0.1, 0.1]]
    opened, trials = open_round(values)
    assert (opened.start, opened.rung, opened.running) == (0, 1, [0, 1, 2, 3])
    assert train(opened, trials, values) == [0, 3]
    assert (opened.start, opened.rung, opened.running) == (1, 2, [1, 2])
    assert train(opened, trials, values) == [2]
    assert (opened.start, opened.rung, opened.running) == (2, 4, [1])
    assert not opened.is_over
    assert train(opened, trials, values) == []
    assert opened.is_over
    assert [trial.state for trial in trials.values()] == ["stopped", "completed", "stopped", "stopped"]


def test_a_round_is_answered_at_its_rung_or_when_it_is_over() -> None:
    values = [[0.4] * 4, [0.3] * 4]
    opened, trials = open_round(values, answered_at=1)
    assert opened.answer == ()
    train(opened, trials, values)
    assert [(trial.epochs, trial.state) for trial in opened.answer] == [(1, "stopped"), (1, "running")]
    train(opened, trials, values)
    assert [trial.epochs for trial in opened.answer] == [1, 1]
    opened, trials = open_round(values)
    for _ in range(3):
        assert opened.answer == ()
        train(opened, trials, values)
    assert [(trial.epochs, trial.state) for trial in opened.answer] == [(1, "stopped"), (4, "completed")]


def test_a_round_in_which_nobody_runs_any_more_is_over() -> None:
    opened, trials = open_round([[0.4], [0.3]])
    for number in opened.running:
        trials[number] = replace(trials[number], state="diverged")
    assert opened.decide() == []
    assert opened.is_over
