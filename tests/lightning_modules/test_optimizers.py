import math

import pytest
import torch
from torch import nn

from lightning_modules.optimizers import OPTIMIZERS, make_optimizer, parameter_groups
from lightning_modules.recipe import Recipe

LR, DECAY = 0.1, 0.2


def _sgd(w, g, state, decay=DECAY):
    return w - LR * (g + decay * w)


def _momentum(w, g, state):
    state["v"] = 0.9 * state.get("v", 0.0) + g + DECAY * w
    return w - LR * state["v"]


def _nesterov(w, g, state):
    g = g + DECAY * w
    state["v"] = 0.9 * state.get("v", 0.0) + g
    return w - LR * (g + 0.9 * state["v"])


def _adagrad(w, g, state):
    g = g + DECAY * w
    state["s"] = state.get("s", 0.0) + g * g
    return w - LR * g / (math.sqrt(state["s"]) + 1e-10)


def _rmsprop(w, g, state):
    g = g + DECAY * w
    state["s"] = 0.99 * state.get("s", 0.0) + 0.01 * g * g
    return w - LR * g / (math.sqrt(state["s"]) + 1e-8)


def _adam(w, g, state, decay=DECAY):
    g = g + decay * w
    state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g * g
    m, v = state["m"] / (1 - 0.9 ** state["t"]), state["v"] / (1 - 0.999 ** state["t"])
    return w - LR * m / (math.sqrt(v) + 1e-8)


def _adamw(w, g, state):
    return _adam(w - LR * DECAY * w, g, state, decay=0.0)


REFERENCES = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
}


def _one_weight(value: float = 1.5) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, value)
    return layer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_the_steps_of_its_formula(name):
    layer, state, expected = _one_weight(), {}, 1.5
    optimizer = make_optimizer(layer, Recipe(optimizer=name, lr=LR, weight_decay=DECAY))
    for _ in range(5):
        loss = (layer.weight - 3).pow(2).sum()  # gradient 2 (w - 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected = REFERENCES[name](expected, 2 * (expected - 3), state)
        assert layer.weight.item() == pytest.approx(expected, rel=1e-9)


def test_adamw_decays_apart_from_the_gradient_and_adam_does_not():
    for name, expected in (("adamw", 1.5 * (1 - LR * DECAY)), ("adam", 1.5 - LR)):
        layer = _one_weight()
        layer.weight.grad = torch.zeros_like(layer.weight)
        make_optimizer(layer, Recipe(optimizer=name, lr=LR, weight_decay=DECAY)).step()
        assert layer.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_are_spared_from_decay_unless_asked(name):
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(), nn.Linear(4, 2))
    optimizer = make_optimizer(network, Recipe(optimizer=name, weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {n: 0.3 if n in ("0.weight", "3.weight") else 0.0 for n, _ in network.named_parameters()}
    assert {n: decays[id(p)] for n, p in network.named_parameters()} == expected
    everything = make_optimizer(network, Recipe(optimizer=name, weight_decay=0.3, decay_norm_and_bias=True))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.3]
    assert len(everything.param_groups[0]["params"]) == len(list(network.parameters()))


def test_frozen_parameters_are_left_out_and_no_group_is_empty():
    network = nn.Linear(3, 4)
    network.bias.requires_grad_(False)
    groups = parameter_groups(network.named_parameters(), Recipe())
    assert [len(group["params"]) for group in groups] == [1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_resumed_from_a_saved_state_takes_the_same_steps(name, tmp_path):
    def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: range) -> None:
        for seed in batches:
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()

    recipe = Recipe(optimizer=name, lr=0.01)
    torch.manual_seed(0)
    straight = nn.Linear(3, 2)
    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(straight.state_dict())
    train(straight, make_optimizer(straight, recipe), range(6))
    first = make_optimizer(resumed, recipe)
    train(resumed, first, range(3))
    torch.save(first.state_dict(), tmp_path / "optimizer.pt")
    second = make_optimizer(resumed, recipe)
    second.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(resumed, second, range(3, 6))
    assert torch.equal(straight.weight, resumed.weight)


def test_every_optimizer_is_tested_and_described():
    assert set(OPTIMIZERS) == set(REFERENCES)
    for entry in OPTIMIZERS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
