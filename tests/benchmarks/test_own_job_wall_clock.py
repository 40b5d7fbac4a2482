"""Where the wall-clock of a job went: the parts are a whole, and each holds what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.wall_clock import LegTime, RoundTime, Timeline, covered, growth, read_timeline, share_out
from service.documents import parse_spec
from service.embedded import run_job
from service.home import Home
from service.seats import RunOptions
from service.store import Store


def timeline(*legs: tuple[float, float, float], num_slots: int = 2, asking_s: float = 0.0) -> Timeline:
    return Timeline(
        num_slots=num_slots,
        wall_s=100.0,
        winner_s=90.0,
        checks_s=2.0,
        asking_s=asking_s,
        legs=tuple(LegTime(began=began, ended=ended, trained_s=trained) for began, ended, trained in legs),
        rounds=(),
    )


def test_time_goes_where_it_was_spent() -> None:
    """Two slots; the second one has nothing to do from 40 on, the search is asked from 50 to 53."""
    found = share_out(timeline((10, 50, 36), (10, 40, 30), (60, 80, 20), (60, 80, 18), asking_s=3.0))
    assert found == pytest.approx(
        {
            "training": 104 / 200,
            "in_slots": 6 / 200,
            "waiting": 10 / 200,
            "handing_over": 2 * 7 / 200,
            "asking": 2 * 3 / 200,
            "start": 2 * 8 / 200,
            "checks": 2 * 2 / 200,
            "test_and_bundle": 2 * 10 / 200,
            "tracking": 2 * 10 / 200,
        }
    )


def test_a_job_that_does_nothing_but_train_has_no_other_part() -> None:
    busy = Timeline(
        num_slots=1,
        wall_s=5.0,
        winner_s=5.0,
        checks_s=0.0,
        asking_s=0.0,
        legs=(LegTime(began=0.0, ended=5.0, trained_s=5.0),),
        rounds=(),
    )
    found = share_out(busy)
    assert found.pop("training") == 1.0
    assert set(found.values()) == {0.0}


moments = st.integers(3, 90)


@given(
    st.lists(st.tuples(moments, moments, st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 0.5),
)
def test_the_parts_of_any_job_are_a_whole(spans: list[tuple[int, int, float]], asked: float) -> None:
    """One slot for each leg, so that no slot has two legs at a time; the search is asked while nobody trains."""
    legs = [(min(a, b), max(a, b), share * abs(a - b)) for a, b, share in spans]
    first, last = min(leg[0] for leg in legs), max(leg[1] for leg in legs)
    idle = last - first - covered((began, ended) for began, ended, _ in legs)
    found = share_out(timeline(*legs, num_slots=len(legs), asking_s=asked * idle))
    assert sum(found.values()) == pytest.approx(1.0)
    assert min(found.values()) >= -1e-12


def test_a_job_without_legs_is_refused() -> None:
    with pytest.raises(ValueError, match="shared out by its legs, got none"):
        share_out(timeline())


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(1, 3)], 2), ([(1, 3), (2, 5)], 4), ([(1, 9), (2, 3)], 8), ([(4, 5), (1, 2)], 2)],
)
def test_spans_that_lie_over_each_other_are_counted_once(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def rounds(*lengths: float, trials: int = 50, epochs: int = 100) -> list[RoundTime]:
    found, moment = [], 7.0
    for length in lengths:
        found.append(RoundTime(began=moment, ended=moment + length, trials=trials, epochs=epochs))
        moment += length
    return found


def test_a_trial_that_takes_twice_as_long_at_the_end_has_grown_by_two() -> None:
    found = growth(rounds(10, 10, 15, 15, 20, 20))
    assert found["first_trials"] == found["last_trials"] == 100
    assert found["first_trial_s"] == pytest.approx(0.2)
    assert found["last_trial_s"] == pytest.approx(0.4)
    assert found["ratio"] == pytest.approx(2.0)


def test_longer_trials_are_no_growth_of_a_trial_epoch() -> None:
    longer = [
        RoundTime(began=one.began, ended=one.ended, trials=one.trials, epochs=200) for one in rounds(*[20] * 6)[3:]
    ]
    found = growth([*rounds(10, 10, 10), *longer])
    assert found["ratio"] == pytest.approx(2.0)
    assert found["ratio_by_epoch"] == pytest.approx(1.0)


def test_a_short_job_compares_its_thirds() -> None:
    found = growth(rounds(1, 2, 3, trials=10))
    assert (found["first_trials"], found["last_trials"]) == (10, 10)
    assert found["ratio"] == pytest.approx(3.0)


def test_a_jobs_record_tells_its_times(tmp_path: Path) -> None:
    """One slot, so its legs follow each other and no slot waits for another."""
    spec = parse_spec(
        {
            "family": "mlp",
            "data": {"name": "digits"},
            "search": {"candidates": 3},
            "budget": {"epochs": 24, "max_epochs_per_trial": 3},
            "resources": {"cpu": 1},
        }
    )
    job = run_job(spec, home=tmp_path, options=RunOptions(engine="local"))
    assert job.result is not None
    with Store.open(Home(tmp_path).store_url()) as store:
        found = read_timeline(store, job.id, num_slots=1)
        num_rounds = len(store.rounds(job.id))
    assert 0.0 < found.winner_s <= found.wall_s == job.active_s
    assert min(leg.began for leg in found.legs) >= 0.0
    assert max(leg.ended for leg in found.legs) <= found.winner_s
    assert all(0.0 < leg.trained_s <= leg.ended - leg.began for leg in found.legs)
    assert len(found.rounds) == num_rounds
    assert sum(one.trials for one in found.rounds) == job.result["num_trials"]
    assert sum(one.epochs for one in found.rounds) == job.result["num_epochs"]
    assert all(one.began < one.ended for one in found.rounds)
    shares = share_out(found)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= 0.0
