"""Monte-Carlo dropout against its formula; all that is no dropout stays in evaluation mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.blocks.dropout import VariationalDropout
from lightning_modules.errors import ConfigError
from lightning_modules.uncertainty import Spread, dropout_alone, predict_spread


def spread_of(network: nn.Module, x: Tensor, *, num_passes: int = 20, seed: int = 0) -> Spread:
    return predict_spread(network, lambda: network(x), num_passes=num_passes, seed=seed)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_mean_and_deviation_of_a_linear_network_are_those_of_the_formula(p: float) -> None:
    """y = sum w x m / (1 - p) has mean w x and variance sum (w x)^2 p / (1 - p)."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(p), nn.Linear(6, 1, bias=False))
    x = torch.randn(5, 6)
    spread = spread_of(network, x, num_passes=4000)
    terms = (x * network[1].weight).detach()
    std = (terms.square().sum(dim=1, keepdim=True) * p / (1 - p)).sqrt()
    assert torch.allclose(spread.std, std, rtol=0.06)
    error_of_the_mean = std / 4000**0.5
    assert bool(((spread.mean - terms.sum(dim=1, keepdim=True)).abs() < 4.5 * error_of_the_mean).all())


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(6, 8), VariationalDropout(0.3), nn.Linear(8, 2)), torch.randn(5, 4, 6)
    before = torch.get_rng_state()
    first, again, other = spread_of(network, x), spread_of(network, x), spread_of(network, x, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.std, again.std)
    assert not torch.equal(first.mean, other.mean)


def test_batch_norm_keeps_its_running_statistics_and_uses_them() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6)
    network = nn.Sequential(norm, nn.Dropout(0.5), nn.Linear(6, 2)).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(7, 6) * 3 + 5
    alone, together = spread_of(network, x[:1], num_passes=3000), spread_of(network, x, num_passes=3000)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    tolerance = 5 * together.std[0] / 3000**0.5
    assert bool(((alone.mean[0] - together.mean[0]).abs() < tolerance).all())


def test_only_dropout_is_switched_on_and_everything_is_put_back() -> None:
    inside = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Dropout(0.0))
    network = nn.ModuleDict({"inside": inside, "cell": nn.LSTM(4, 4, num_layers=2, dropout=0.2)}).eval()
    network["cell"].train()
    with dropout_alone(network):
        assert [part.training for part in inside] == [False, True, False]
        assert network["cell"].training
    assert [part.training for part in inside] == [False, False, False]
    assert network["cell"].training


def test_a_network_without_dropout_has_nothing_to_say() -> None:
    with pytest.raises(ConfigError, match="needs a layer that drops, this network has none"):
        spread_of(nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.0)), torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="num_passes >= 2 must hold, got 1"):
        spread_of(nn.Sequential(nn.Dropout(0.5)), torch.zeros(1, 2), num_passes=1)
