from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import TrialRecord, TrialState
from service.tracking import describe

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_trial(number: int, state: TrialState, *, value: float | None, ended_s: int, epochs: int = 2) -> TrialRecord:
    return TrialRecord(
        number=number,
        stage=0,
        round=0,
        params={},
        seed=0,
        state=state,
        epochs=epochs,
        best_epoch=None if value is None else 1,
        best_value=value,
        message=None,
        num_legs=1,
        created_at=START,
        ended_at=START + timedelta(seconds=ended_s) if state.is_final else None,
    )


trials = st.lists(
    st.tuples(
        st.sampled_from(list(TrialState)), st.none() | st.floats(-1e6, 1e6), st.integers(0, 50), st.integers(0, 9)
    ),
    max_size=12,
).map(
    lambda rows: [
        a_trial(number, state, value=value, ended_s=ended_s, epochs=epochs)
        for number, (state, value, ended_s, epochs) in enumerate(rows)
    ]
)


@given(trials=trials, mode=st.sampled_from(["min", "max"]))
def test_the_incumbent_only_gets_better_while_epochs_are_spent(trials: list[TrialRecord], mode: str) -> None:
    points = describe.incumbent_points(trials, mode)
    values, steps = [p.value for p in points], [p.step for p in points]
    assert values == sorted(values, reverse=mode == "min")
    assert steps == sorted(steps)
    completed = [t.best_value for t in trials if t.state == "completed" and t.best_value is not None]
    assert bool(points) == bool(completed)
    if points:
        assert values[-1] == (max if mode == "max" else min)(completed)
        assert steps[-1] == sum(t.epochs for t in trials if t.state.is_final)


@given(trials=trials, ended_s=st.integers(51, 60))
def test_a_curve_that_was_logged_stays_when_more_trials_end(trials: list[TrialRecord], ended_s: int) -> None:
    later = a_trial(len(trials), TrialState.COMPLETED, value=0.0, ended_s=ended_s)
    points = describe.incumbent_points(trials, "max")
    assert describe.incumbent_points([*trials, later], "max")[: len(points)] == points


def test_a_stopped_trial_is_no_incumbent() -> None:
    stopped = a_trial(0, TrialState.STOPPED, value=0.99, ended_s=1)
    completed = a_trial(1, TrialState.COMPLETED, value=0.5, ended_s=2)
    (point,) = describe.incumbent_points([stopped, completed], "max")
    assert (point.value, point.step) == (0.5, 4)


def test_nested_settings_become_dotted_names() -> None:
    tree = {"a": {"b": 1, "c": {"d": None}}, "list": [1, "x"], "empty": {}, "on": True, "text": "as it is"}
    assert describe.flat(tree) == {
        "a.b": "1",
        "a.c.d": "null",
        "list": '[1, "x"]',
        "empty": "{}",
        "on": "true",
        "text": "as it is",
    }


@pytest.mark.parametrize(
    ("given_name", "told"), [("val_acc@5", "val_acc_5"), ("loss/val", "loss/val"), ("F1 (macro)", "F1 _macro_")]
)
def test_names_are_such_that_mlflow_takes_them(given_name: str, told: str) -> None:
    assert describe.name(given_name) == told
