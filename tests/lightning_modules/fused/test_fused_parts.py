"""The parts of a stacked network on their own: gradients, randomness, optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cohorts import SMALL, how, make_data, one_by_one, together
from torch import Tensor, nn

from lightning_modules.blocks.recurrent import RecurrentLayer
from lightning_modules.fused.cells import CELLS
from lightning_modules.fused.losses import _CrossEntropy
from lightning_modules.fused.noise import Noise
from lightning_modules.fused.optimizers import StackedOptimizer
from lightning_modules.fused.parameters import FlatParameters
from lightning_modules.fused.recurrent import Rows, StackedRecurrentLayer, StackedRNNBase, _Loop
from lightning_modules.fused.stacking import stack
from lightning_modules.optimizers import OPTIMIZERS, make_optimizer
from lightning_modules.recipe import Recipe


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def needs(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.clone().requires_grad_() for tensor in tensors)


@pytest.mark.parametrize("mode", ["RNN_TANH", "LSTM", "GRU"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_gradient_of_the_loop_over_steps_is_right(mode: str, backwards: bool) -> None:
    """Against differences, with rows of several lengths in any order."""
    cell, hidden, channels = CELLS[mode], 3, 2
    gates = len(cell.factors) * hidden
    rows = Rows(torch.tensor([[2, 4, 1], [3, 1, 1]]), 4, torch.float64)
    inputs = needs(
        draw(2, 3, 4, channels), draw(2, gates, channels), draw(2, gates, hidden), draw(2, gates), draw(2, gates)
    )
    assert torch.autograd.gradcheck(lambda *x: _Loop.apply(*x, rows, cell, backwards), inputs)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_members_taken_a_few_at_a_time_are_as_all_at_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [kind(2, 3, batch_first=True, bidirectional=True).double() for _ in range(5)]
    stacked, x, lengths = StackedRNNBase(layers), draw(20, 6, 2), torch.arange(20) % 6 + 1
    whole = stacked(x, lengths)
    monkeypatch.setattr("lightning_modules.fused.recurrent._CACHE_BYTES", 1)
    torch.testing.assert_close(stacked(x, lengths), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shortest", [1, 9, 12])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_wide_lstm_is_as_each_members_own(shortest: int, bidirectional: bool) -> None:
    """By the processor's kernel where rows are nearly full, else by the loop: outputs and gradients."""
    torch.manual_seed(0)
    alone = [RecurrentLayer("lstm", 3, 64, bidirectional=bidirectional) for _ in range(2)]
    stacked = StackedRecurrentLayer(alone)
    x, lengths = torch.randn(10, 12, 3), torch.randint(shortest, 13, (10,))
    ours, weight = needs(x, torch.randn(10, 12, 128 if bidirectional else 64))
    theirs = ours.detach().clone().requires_grad_()
    (stacked(ours, lengths) * weight).sum().backward()
    parts = [layer(rows, own) for layer, rows, own in zip(alone, theirs.split(5), lengths.split(5), strict=True)]
    (torch.cat(parts) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    for name, parameter in stacked.cell.named_parameters():
        expected = torch.stack([layer.cell.get_parameter(name).grad for layer in alone])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_cross_entropy_is_right() -> None:
    shares = draw(2, 3, 4).softmax(dim=2)
    assert torch.autograd.gradcheck(lambda x: _CrossEntropy.apply(x, shares), needs(draw(2, 3, 4)))


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_mask_drops_its_members_share_and_keeps_the_mean(hashed: bool, rate: float) -> None:
    noise = Noise([1, 2, 3], hashed=hashed)
    noise.start_epoch(0)
    masks = noise.masks(torch.empty(3, 100, 1000), [rate, 0.0, 0.3], own_steps=False)
    assert torch.equal(masks[1], torch.ones(100, 1000))
    for member, share in ((0, rate), (2, 0.3)):
        assert masks[member].unique().tolist() == pytest.approx([0.0, 1.0 / (1.0 - share)])
        # Four standard deviations of a share of 100,000 values.
        deviation = (share * (1.0 - share) / 100_000) ** 0.5
        assert float((masks[member] == 0).double().mean()) == pytest.approx(share, abs=4 * deviation)


@pytest.mark.parametrize("hashed", [False, True])
def test_what_a_member_draws_follows_from_its_seed_and_epoch_alone(hashed: bool) -> None:
    def draws(seeds: list[int], epoch: int) -> Tensor:
        noise = Noise(seeds, hashed=hashed)
        noise.start_epoch(epoch)
        noise.masks(torch.empty(len(seeds), 7), [0.5] * len(seeds), own_steps=False)
        return noise.masks(torch.empty(len(seeds), 5, 64), [0.5] * len(seeds), own_steps=False)

    together_ = draws([7, 8, 9], 4)
    assert torch.equal(together_[2], draws([9], 4)[0])
    assert torch.equal(together_, draws([7, 8, 9], 4))
    assert not torch.equal(together_[0], together_[1])
    assert not torch.equal(together_, draws([7, 8, 9], 5))


def test_padding_for_others_changes_no_draw() -> None:
    """A member of four steps draws the same beside one of four and beside one of six."""

    def first(steps: list[int]) -> Tensor:
        noise = Noise([1, 2], hashed=False)
        noise.start_epoch(0)
        noise.steps = steps
        longest = max(steps)
        drawn = noise.masks(torch.empty(2, 3, longest, 8), [0.5, 0.5], own_steps=True)[0]
        return torch.cat([drawn[:, :4].flatten(), noise.masks(torch.empty(2, 9), [0.5, 0.5], own_steps=False)[0]])

    assert torch.equal(first([4, 4]), first([4, 6]))


def test_losses_with_dropout_are_distributed_as_alone() -> None:
    """The mean train loss of many seeds, dropout at a half, within three standard errors of the difference."""
    data, settings = make_data("tabular"), how(precision="32", max_epochs=2)
    values = {**SMALL["mlp"], "dropout": 0.5, "lr": 0.01}
    seeds = list(range(40))
    fused = together("mlp", [values] * 40, data, settings=settings, seeds=seeds, end_epoch=2)
    alone = [one_by_one("mlp", values, data, settings=settings, seed=seed, end_epoch=2) for seed in seeds]
    left, right = (
        torch.tensor([outcome.measurements[-1][1]["train_loss"] for outcome in outcomes])
        for outcomes in (alone, fused)
    )
    differences = left - right
    assert float(differences.abs().max()) > 0
    assert abs(float(differences.mean())) < 3 * float(differences.std()) / 40**0.5
    assert float(right.std()) == pytest.approx(float(left.std()), rel=0.5)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("by_row", [True, False])
def test_each_member_steps_as_torchs_own_optimizer(name: str, by_row: bool) -> None:
    """By torch's kernels row by row, and by operations over all rows, as a GPU has it."""
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double() for _ in range(3)]
    recipes = [
        Recipe(optimizer=name, lr=0.1 / (1 + number), weight_decay=0.2 * number, momentum=0.5 + 0.1 * number)
        for number in range(3)
    ]
    optimizers = [make_optimizer(network, recipe) for network, recipe in zip(networks, recipes, strict=True)]
    stacked = stack(networks, Noise([0, 1, 2], hashed=False))
    names = [["0.weight", "1.weight"], ["0.bias", "1.bias"]]
    flat = FlatParameters(stacked, names)
    step = StackedOptimizer(name, flat, [optimizer.param_groups for optimizer in optimizers], [0.0] * 3)
    step._by_row = by_row
    x, y = draw(3, 5, 3), draw(3, 5, 2)
    for _ in range(4):
        for network, optimizer, own_x, own_y in zip(networks, optimizers, x, y, strict=True):
            optimizer.zero_grad()
            (network(own_x) - own_y).square().mean().backward()
            optimizer.step()
        out = stacked(x.flatten(0, 1)).unflatten(0, (3, 5))
        flat.set_gradients((out - y).square().mean(dim=(1, 2)))
        step.step()
    for member, network in enumerate(networks):
        own = flat.split(flat.values[member])
        for parameter_name, parameter in network.named_parameters():
            torch.testing.assert_close(own[parameter_name], parameter.detach(), rtol=1e-9, atol=1e-12)
