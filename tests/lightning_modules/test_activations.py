import math
import re

import pytest
import torch
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.activations import (
    ACTIVATIONS,
    Swish,
    make_activation,
    saturation,
)
from lightning_modules.errors import ConfigError

X = torch.linspace(-6, 6, 2401, dtype=torch.float64).reshape(1, -1)

FORMULAS = {
    "relu": lambda x: torch.where(x > 0, x, 0 * x),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (torch.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "swish": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    "tanh": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "softmax": lambda x: torch.exp(x) / torch.exp(x).sum(dim=1, keepdim=True),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_and_its_gradient_follow_the_formula(name):
    x, reference_x = X.clone().requires_grad_(), X.clone().requires_grad_()
    ours = make_activation(name).double()(x)
    reference = FORMULAS[name](reference_x)
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-12)
    weights = torch.cos(X)
    (ours * weights).sum().backward()
    (reference * weights).sum().backward()
    inner = X != 0  # where the relu kinds have their kink
    torch.testing.assert_close(x.grad[inner], reference_x.grad[inner], rtol=1e-7, atol=1e-9)


def test_every_registered_activation_is_covered_and_described():
    assert set(ACTIVATIONS) == {*FORMULAS, "rrelu"}
    for entry in ACTIVATIONS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))


def test_rrelu_draws_its_slope_in_training_and_takes_the_mean_slope_in_evaluation():
    torch.manual_seed(0)
    rrelu = make_activation("rrelu")
    x = torch.full((1, 1000), -1.0)
    slopes = -rrelu(x)
    assert slopes.min() >= 1 / 8
    assert slopes.max() <= 1 / 3
    assert slopes.std() > 0.03
    torch.testing.assert_close(rrelu.eval()(x), torch.full_like(x, -11 / 48))


@pytest.mark.parametrize(
    ("name", "low"), [("gelu", -0.17), ("gelu_tanh", -0.17), ("silu", -0.278), ("mish", -0.309)]
)
def test_the_smooth_activations_have_their_known_minimum(name, low):
    assert make_activation(name)(X).min().item() == pytest.approx(low, abs=1e-3)


def test_the_outputs_of_the_bounded_activations_stay_in_their_range():
    assert 0 < make_activation("sigmoid")(X).min() < make_activation("sigmoid")(X).max() < 1
    assert -1 < make_activation("tanh")(X).min() < make_activation("tanh")(X).max() < 1
    torch.testing.assert_close(make_activation("softmax")(X).sum(), torch.tensor(1.0, dtype=torch.float64))


def test_swish_takes_a_fixed_or_a_learned_slope():
    torch.testing.assert_close(Swish(beta=2.0, learnable=False)(X), X * torch.sigmoid(2 * X))
    assert [p.shape for p in Swish().parameters()] == [(1,)]
    assert list(Swish(learnable=False).parameters()) == []
    assert "beta" not in Swish(learnable=False).state_dict()


def test_options_reach_the_activation():
    torch.testing.assert_close(make_activation("elu", alpha=2.0)(X), F.elu(X, 2.0))
    torch.testing.assert_close(make_activation("leaky_relu", negative_slope=0.2)(X), F.leaky_relu(X, 0.2))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softmax"])
def test_a_deep_stack_of_saturating_activations_is_warned_about(name):
    assert re.search(f"{name} in 10 hidden layers .* take relu or gelu", saturation(name, 10))


def test_the_warning_names_the_share_of_the_gradient_that_sigmoids_pass():
    assert "at most 0.25^10 = 9.5e-07 of the gradient" in saturation("sigmoid", 10)


def test_shallow_stacks_and_relu_kinds_are_not_warned_about():
    assert saturation("tanh", 2) is None
    assert saturation("relu", 50) is None


def test_an_unknown_activation_is_refused_with_the_nearest_name():
    with pytest.raises(
        ConfigError, match=r"activation: must be one of relu, .* got 'reul': did you mean 'relu'\?"
    ):
        make_activation("reul")


def test_the_slope_of_prelu_is_learned_from_the_values_below_0():
    def reference(weights, x):
        return torch.where(x > 0, x, weights["weight"] * x)

    assert_same_with_gradients(make_activation("prelu"), reference, torch.randn(5, 7))


def test_the_slope_of_swish_is_learned():
    def reference(weights, x):
        return x / (1 + torch.exp(-weights["beta"] * x))

    assert_same_with_gradients(Swish(beta=1.5), reference, torch.randn(5, 7))


def test_the_gradient_of_rrelu_is_the_slope_that_was_drawn_and_the_mean_one_in_evaluation():
    torch.manual_seed(0)
    rrelu = make_activation("rrelu")
    x = torch.tensor([[-2.0, -1.0, 0.5, 3.0]], requires_grad=True)
    y = rrelu(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())
    x.grad = None
    rrelu.eval()(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[11 / 48, 11 / 48, 1.0, 1.0]]))
