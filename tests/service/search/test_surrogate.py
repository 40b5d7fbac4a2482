"""The model behind the ladder's last stage, against finite differences and functions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from service.search.surrogate import GaussianProcess


def make_data(num: int, dims: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    return generator.random((num, dims)), generator.standard_normal(num)


def test_the_gradient_is_the_slope_of_the_objective() -> None:
    x, y = make_data(30, 3)
    x[0], x[1] = 0.0, 1.0  # where a warp is steepest
    model = GaussianProcess(3)
    model.fit(x, y, steps=0)
    theta = model._theta + 0.3 * np.random.default_rng(1).standard_normal(len(model._theta))
    _, gradient = model._objective(theta)
    steps = 1e-6 * np.eye(len(theta))
    slopes = [(model._objective(theta + s)[0] - model._objective(theta - s)[0]) / 2e-6 for s in steps]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-4)


def test_unwarping_takes_a_fitted_warp_back() -> None:
    x, _ = make_data(40, 2)
    model = GaussianProcess(2)
    model.fit(x, np.log(x[:, 0] + 0.001), steps=30)
    assert np.abs(model.warp(x) - x).max() > 0.1
    np.testing.assert_allclose(model.unwarp(model.warp(x)[:, [1]], [1])[:, 0], x[:, 1], atol=1e-6)


def test_a_range_that_matters_near_its_edge_is_stretched_there() -> None:
    """A weight decay of 0.1 at most that decides below 0.01: the model finds its scale."""
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.random(30), 0.1 * generator.random(10)])[:, None]
    model = GaussianProcess(1)
    model.fit(x, np.log10(x[:, 0] + 0.003), steps=40)
    assert model.warp(np.array([[0.1]]))[0, 0] > 0.25
    near = np.array([[0.004], [0.012], [0.03]])
    mean, _ = model.predict(near)
    np.testing.assert_allclose(mean, np.log10(near[:, 0] + 0.003), atol=0.15)


def test_a_believed_point_is_less_uncertain_and_conditioning_forgets_it() -> None:
    x, _ = make_data(20, 2)
    y = 3 * np.sin(4 * x[:, 0]) + x[:, 1]
    model = GaussianProcess(2)
    model.fit(x, y, steps=10)
    point = np.array([[0.5, 0.5]])
    mean, before = model.predict(point)
    model.believe(point[0])
    after_mean, after = model.predict(point)
    assert after[0] < 0.8 * before[0]
    assert after_mean[0] == pytest.approx(mean[0], abs=1e-6)
    model.condition(x, y)
    assert model.predict(point)[1][0] == pytest.approx(before[0])


def test_points_that_are_believed_in_turn_are_those_that_are_conditioned_on_at_once() -> None:
    x, y = make_data(30, 3)
    model, points = GaussianProcess(3), make_data(6, 3, seed=1)[0]
    model.fit(x, y, steps=10)
    values = []
    for point in points:
        values.append(float(model.predict(point[None])[0][0]))
        model.believe(point)
    anywhere = make_data(50, 3, seed=2)[0]
    found = model.predict(anywhere)
    model.condition(np.vstack([x, points]), np.append(y, values))
    np.testing.assert_allclose(found, model.predict(anywhere), rtol=1e-7, atol=1e-9)
