"""The sampler of the ladder's last stage: what it asks for, and what it forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest
from scipy.special import ndtr

from search_spaces import Choice, Float, SearchSpace
from service.search.proposals import Proposer
from service.search.rounds import Trial
from service.search.sampler import NUM_SHAPES, SurrogateSampler

Curve = Callable[[dict, int], float]  # params, epoch -> loss
RUNGS = (2, 6, 18)
SPACE = SearchSpace(
    name="s",
    parameters=(
        Float(name="decay", low=0.0, high=1.0, default=0.5, why="w"),
        Float(name="rate", low=0.0, high=1.0, default=0.5, why="w"),
        Choice(name="kind", choices=("a", "b", "c"), default="a", why="w"),
    ),
)


def make_trial(number: int, params: dict, curve: Curve, epochs: int) -> Trial:
    return Trial(
        number=number,
        stage=0,
        round=0,
        params=params,
        state="completed" if epochs == RUNGS[-1] else "stopped",
        values=tuple(curve(params, epoch) for epoch in range(1, epochs + 1)),
    )


def search(
    curve: Curve, *, rounds: int, seed: int = 0, space: SearchSpace = SPACE
) -> tuple[list[Trial], SurrogateSampler]:
    """Rounds of three: the best of each at the first rung is trained to full length."""
    sampler = SurrogateSampler(space, rungs=RUNGS, seed=seed)
    proposer = Proposer(space, space.names, mode="min", sampler=sampler)
    trials: list[Trial] = []
    for _ in range(rounds):
        asked = proposer.ask(3, base={})
        best = min(asked, key=lambda params: curve(params, RUNGS[0]))
        ended = [
            make_trial(len(trials) + i, params, curve, RUNGS[-1] if params is best else RUNGS[0])
            for i, params in enumerate(asked)
        ]
        proposer.tell(ended, max_epochs=RUNGS[-1])
        trials += ended
    return trials, sampler


def near_an_edge_of_rate(params: dict, epoch: int) -> float:
    return (params["rate"] - 0.2) ** 2 + 0.1 / epoch


def near_an_edge(params: dict, epoch: int) -> float:
    """Best at decay 0.004, in the highest corner of rate, with kind b."""
    off = abs(np.log10(params["decay"] + 0.001) - np.log10(0.005))
    return float(off + (1 - params["rate"]) ** 2 + (params["kind"] != "b") + 1 / epoch)


@pytest.mark.parametrize("seed", range(3))
def test_an_optimum_in_a_hundredth_of_a_range_is_found(seed: int) -> None:
    trials, _ = search(near_an_edge, rounds=14, seed=seed)
    best = min(trials, key=lambda trial: near_an_edge(dict(trial.params), RUNGS[-1]))
    assert best.params["kind"] == "b"
    assert best.params["rate"] > 0.8
    assert 0.001 < best.params["decay"] < 0.015


def make_space(num: int) -> SearchSpace:
    parameters = [Float(name=f"x{i}", low=0.0, high=1.0, default=0.5, why="w") for i in range(num)]
    return SearchSpace(name="s", parameters=tuple(parameters))


def test_almost_the_same_is_never_asked_for_twice() -> None:
    """Noise makes the bottom of a known valley look worth another try, each time."""

    def noisy(params: dict, epoch: int) -> float:
        return (params["x0"] - 0.5) ** 2 + 0.05 * np.sin(1e5 * params["x0"]) + 1 / epoch

    trials, sampler = search(noisy, rounds=10, space=make_space(1))
    units = sampler._warp(np.array([sampler._cube.row(trial.params) for trial in trials]))[:, 0]
    for last in (-1, -2, -3):  # the newest round, on the scale on which it was asked for
        assert np.abs(units[last] - units[:last]).min() >= 0.02


def test_what_is_asked_for_is_better_than_thousands_of_points_around_the_best() -> None:
    """No pool of a few hundred points holds what a climb finds in eight ranges."""
    space = make_space(8)
    trials, sampler = search(lambda p, e: sum((0.7 - u) ** 2 for u in p.values()) + 1 / e, rounds=8, space=space)
    proposer = Proposer(space, space.names, mode="min", sampler=sampler)
    proposer.add(trials, max_epochs=RUNGS[-1])
    asked = sampler._cube.row(proposer.ask(1, base={})[0])
    complete = [trial for trial in trials if trial.state == "completed"]
    best = sampler._cube.row(min(complete, key=lambda trial: trial.values[-1]).params)
    drawn = np.clip(best + 0.1 * np.random.default_rng(0).standard_normal((5000, 8)), 0, 1)
    mean, std = sampler._model.predict(sampler._inputs(np.vstack([best, asked, drawn]), RUNGS[-1]))
    z = (mean[0] - mean) / std
    improvement = std * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
    assert improvement[1] > improvement[2:].max()


def crossing(params: dict, epoch: int) -> float:
    """What starts badly ends well."""
    share = (epoch - 1) / (RUNGS[-1] - 1)
    return 0.5 + (1 - share) * params["x0"] - share * 0.5 * params["x0"]


def jagged(params: dict, epoch: int) -> float:
    """Full training takes the same from everybody, and where a trial stands does not follow from its params."""
    return 0.3 * np.sin(40 * params["x0"]) + 1 - 0.5 * np.log(epoch) / np.log(RUNGS[-1])


@pytest.mark.parametrize(("curve", "asked"), [(crossing, [0.29, 0.87]), (jagged, [0.29])])
def test_a_forecast_knows_from_full_trainings_how_curves_go_on(curve: Curve, asked: list[float]) -> None:
    """No trial has stopped at the rung that it is asked about."""
    space = make_space(1)
    sampler = SurrogateSampler(space, rungs=RUNGS, seed=0)
    proposer = Proposer(space, space.names, mode="min", sampler=sampler)
    complete = [make_trial(i, {"x0": i / 12}, curve, RUNGS[-1]) for i in range(9)]
    proposer.add(complete, max_epochs=RUNGS[-1])
    proposer.ask(1, base={})
    params = [{"x0": unit} for unit in asked]
    forecaster = sampler.forecaster()
    assert forecaster is not None
    found = forecaster(params, [curve(one, RUNGS[0]) for one in params], RUNGS[0])
    assert found == pytest.approx([curve(one, RUNGS[-1]) for one in params], abs=0.1)


def test_without_anything_seen_there_are_no_forecasts() -> None:
    assert SurrogateSampler(SPACE, rungs=RUNGS, seed=0).forecaster() is None


def test_a_forecast_follows_from_what_was_known_when_it_was_taken_and_changes_no_proposal() -> None:
    asked, forecasts = [], []
    for with_forecast in (False, True):
        trials, sampler = search(near_an_edge, rounds=4)
        forecaster = sampler.forecaster()
        assert forecaster is not None
        if with_forecast:
            forecasts.append(forecaster([SPACE.defaults()], [0.7], 2))
        proposer = Proposer(SPACE, SPACE.names, mode="min", sampler=sampler)
        proposer.add(trials, max_epochs=RUNGS[-1])
        asked.append(proposer.ask(2, base={}))
        forecasts.append(forecaster([SPACE.defaults()], [0.7], 2))
    assert asked[0] == asked[1]
    assert forecasts[0] == forecasts[1] == forecasts[2]


def test_a_trial_that_is_told_twice_is_known_as_far_as_it_has_come() -> None:
    """Half told it counts, does not end, and is not asked for again; told whole it is a trial like any other."""
    whole, halfway = [], []
    for is_told_twice in (False, True):
        sampler = SurrogateSampler(SPACE, rungs=RUNGS, seed=0)
        proposer = Proposer(SPACE, SPACE.names, mode="min", sampler=sampler)
        asked = proposer.ask(4, base={})
        ended = [make_trial(i, params, near_an_edge, RUNGS[-1]) for i, params in enumerate(asked)]
        if is_told_twice:
            running = [replace(trial, state="running", values=trial.values[: RUNGS[0]]) for trial in ended]
            proposer.tell(running, max_epochs=RUNGS[-1])
            halfway = proposer.ask(3, base={})
            for params in halfway:
                proposer.drop(params)
        proposer.tell(ended, max_epochs=RUNGS[-1])
        whole.append(proposer._study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    assert [t.intermediate_values for t in whole[0]] == [t.intermediate_values for t in whole[1]]
    assert [t.value for t in whole[0]] == [t.value for t in whole[1]]
    assert all(params not in asked for params in halfway)


def test_a_large_rounds_further_candidates_have_a_shape_that_is_there() -> None:
    """The first are anything; the others differ from each other in what changes no shape."""
    space = SearchSpace(
        name="s",
        parameters=(
            Float(name="rate", low=0.0, high=1.0, default=0.5, why="w"),
            Choice(name="width", choices=(8, 16, 32, 64, 128), default=32, why="w", ordered=True),
            Choice(name="kind", choices=("a", "b", "c", "d"), default="a", why="w"),
        ),
    )
    seen = [
        make_trial(i, {"rate": i / 8, "width": 2 ** (3 + i % 5), "kind": "abcd"[i % 4]}, near_an_edge_of_rate, 18)
        for i in range(8)
    ]

    def asked(count: int, shape: tuple[str, ...]) -> list[dict]:
        sampler = SurrogateSampler(space, rungs=RUNGS, seed=1, shape=shape)
        proposer = Proposer(space, space.names, mode="min", sampler=sampler)
        proposer.add(seen, max_epochs=RUNGS[-1])
        return proposer.ask(count, base={})

    def shapes(found: list[dict]) -> list[tuple]:
        return [(params["width"], params["kind"]) for params in found]

    free, shared = asked(16, ()), asked(16, ("width", "kind"))
    assert shared[:NUM_SHAPES] == free[:NUM_SHAPES]  # a small round is what it was
    assert set(shapes(shared)) == set(shapes(shared[:NUM_SHAPES]))
    assert len(set(shapes(free))) > len(set(shapes(shared)))
    assert len({tuple(params.values()) for params in shared}) == 16


def test_a_parameter_outside_its_space_is_refused() -> None:
    study = optuna.create_study(sampler=SurrogateSampler(SPACE, rungs=RUNGS, seed=0))
    with pytest.raises(ValueError, match="this sampler proposes its space alone, got 'other'"):
        study.ask().suggest_float("other", 0, 1)


def test_with_many_trials_a_fit_waits_until_a_twentieth_of_them_is_new() -> None:
    space = make_space(1)
    sampler = SurrogateSampler(space, rungs=RUNGS, seed=0)
    proposer = Proposer(space, space.names, mode="min", sampler=sampler)
    fitted = []
    for first, end in ((0, 170), (170, 174), (174, 180)):
        trials = [make_trial(i, {"x0": (i * 0.618) % 1}, crossing, RUNGS[0]) for i in range(first, end)]
        proposer.add(trials, max_epochs=RUNGS[-1])
        proposer.ask(1, base={})
        fitted.append(sampler._model._theta.tolist())
    assert fitted[0] == fitted[1] != fitted[2]
