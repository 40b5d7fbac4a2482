"""Health: what is measured is what autograd says, training never notices, and what is bad is named."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.checkpointing import read_checkpoint
from lightning_modules.data import ArrayDataModule, BuiltinSource, TrainingData
from lightning_modules.health import PREFIX, SHORT_EPOCH, complaints, is_watched, without_health
from lightning_modules.health_watch import HealthWatch
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, train


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.6, split_seed=0).read_training()


def trained(
    data: TrainingData, family: str = "mlp", *, health: bool, cuts: tuple[int, ...] = (3,), **settings: Any
) -> list[TrainingOutcome]:
    pieces: list[TrainingOutcome] = []
    start, checkpoint = 0, None
    for end in cuts:
        datamodule = ArrayDataModule(data, batch_size=64, seed=1)
        with seeded(1):
            task = build_task(family, {"dropout": 0.3, **settings}, data.info, max_epochs=3, steps_per_epoch=9)
        how = TrainingSettings(metric="val_loss", mode="min", max_epochs=3, health=health)
        piece = train(
            task, datamodule, settings=how, seed=1, start_epoch=start, end_epoch=end, checkpoint=checkpoint
        )
        start, checkpoint = end, piece.checkpoint
        pieces.append(piece)
    return pieces


def health_of(piece: TrainingOutcome, epoch: int = -1) -> dict[str, float]:
    return {name: value for name, value in piece.measurements[epoch][1].items() if name.startswith(PREFIX)}


@pytest.mark.parametrize(
    ("family", "settings"), [("mlp", {"clip_norm": 0.5}), ("cnn", {"width": 4, "head_grid": 1})]
)
def test_training_is_the_same_bit_for_bit_with_and_without(
    digits: TrainingData, family: str, settings: dict[str, Any]
) -> None:
    (plain,) = trained(digits, family, health=False, **settings)
    (watched,) = trained(digits, family, health=True, **settings)
    assert health_of(watched)
    assert not health_of(plain)
    ours, theirs = (read_checkpoint(one.checkpoint) for one in (watched, plain))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(ours["state_dict"][name], theirs["state_dict"][name]) for name in theirs["state_dict"])
    assert [(e, without_health(m)) for e, m in watched.measurements] == list(plain.measurements)


def test_a_trial_in_pieces_has_the_health_of_one_in_a_whole(digits: TrainingData) -> None:
    whole = trained(digits, health=True)[0].measurements
    pieces = trained(digits, health=True, cuts=(1, 3))
    assert [measurement for piece in pieces for measurement in piece.measurements] == list(whole)


class Small(nn.Module):
    """Two layers whose relu has one dead unit of four."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)
        with torch.no_grad():
            self.first.weight[2] = 0.0
            self.first.bias[2] = -1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))  # type: ignore[no-any-return]


def watch_a_step(module: nn.Module, *inputs: Tensor) -> dict[str, float]:
    watch = HealthWatch()
    watch.start_epoch(module, 0, 1)
    output = module(*inputs)
    output = output[0] if isinstance(output, tuple) else output
    output.square().mean().backward()
    watch.see_gradients(torch.optim.SGD(module.parameters(), lr=0.1))
    watch.end()
    return watch.values()


def test_the_values_are_those_of_autograd_and_of_the_outputs() -> None:
    torch.manual_seed(0)
    module, x = Small(), torch.randn(16, 3)
    seen = watch_a_step(module, x)
    hidden = torch.relu(module.first(x)).detach()
    loss = module(x).square().mean()
    weight, bias = torch.autograd.grad(loss, [module.first.weight, module.first.bias])
    expected = (weight.square().sum() + bias.square().sum()).sqrt()
    assert seen["health/gradient_norm/first"] == pytest.approx(float(expected), rel=1e-5)
    assert seen["health/activation_mean/act"] == pytest.approx(float(hidden.mean()), rel=1e-5)
    assert seen["health/activation_std/act"] == pytest.approx(float(hidden.std()), rel=1e-5)
    assert seen["health/dead_share/act"] == pytest.approx(float((hidden.amax(0) == 0).float().mean()))
    assert seen["health/dead_share/act"] >= 0.25
    assert len(seen) == 5


def test_a_map_is_dead_when_it_is_zero_everywhere() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(1, 2, 1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))  # type: ignore[no-any-return]

    module = Maps()
    with torch.no_grad():
        module.conv.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        module.conv.bias.zero_()  # type: ignore[union-attr]
    x = torch.zeros(2, 1, 3, 3)
    x[1, 0, 2, 2] = 1.0
    assert watch_a_step(module, x)["health/dead_share/act"] == 0.5


def test_recurrent_layers_are_seen_through_their_packing() -> None:
    torch.manual_seed(0)
    cell = nn.GRU(2, 3, batch_first=True)
    module = nn.ModuleDict({"cell": cell})
    module.forward = lambda x: cell(x)[0]  # type: ignore[method-assign]
    seen = watch_a_step(module, torch.randn(4, 5, 2))
    assert set(seen) == {f"health/{kind}/cell" for kind in ("gradient_norm", "activation_mean", "activation_std")}


def test_of_short_epochs_every_second_is_watched() -> None:
    assert [epoch for epoch in range(6) if is_watched(epoch, SHORT_EPOCH - 1)] == [0, 2, 4]
    assert all(is_watched(epoch, SHORT_EPOCH) for epoch in range(6))
    module, watch = Small(), HealthWatch()
    watch.start_epoch(module, 0, 1)
    module(torch.randn(4, 3))
    assert watch.values()
    watch.start_epoch(module, 1, 1)
    assert not watch.is_watching
    assert watch.values() == {}


def test_no_hook_stays_behind() -> None:
    module = Small()
    watch_a_step(module, torch.randn(4, 3))
    assert not any(part._forward_hooks for part in module.modules())


SOUND: Mapping[str, float | None] = {
    "train_loss": 0.5,
    "health/gradient_norm/a": 0.1,
    "health/gradient_norm/b": 1.0,
    "health/activation_mean/a": 0.4,
    "health/activation_std/a": 1.0,
    "health/dead_share/a": 0.1,
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"health/gradient_norm/a": 9e-5},
            r"^vanishing gradient: a gets 9e-05 of what b gets \(limit 0\.0001\): ",
        ),
        ({"health/gradient_norm/a": 2e3}, r"^exploding gradient: norm 2e\+03 of a in epoch 2 \(limit 1000\): "),
        ({"health/gradient_norm/a": None}, "^exploding gradient: norm inf of a"),
        ({"health/dead_share/a": 0.6}, r"^dead units: 60% of a \(limit 50%\): "),
        ({"health/activation_std/a": 0.0}, "^flat activations: a give all rows the same"),
        ({"health/activation_mean/a": -2e3}, "^huge activations: a "),
        ({"train_loss": None}, "^not finite: train_loss in epoch 2: lower the learning rate"),
    ],
)
def test_what_is_bad_is_named_with_layer_limit_and_remedy(change: dict[str, Any], complaint: str) -> None:
    (found,) = complaints([SOUND, {**SOUND, **change}])
    assert re.search(complaint, found)


def test_what_is_sound_has_no_complaint() -> None:
    assert complaints([]) == []
    assert complaints([SOUND, SOUND]) == []
    assert complaints([{"val_loss": 1.0}]) == []


def test_what_has_recovered_is_not_held_against_a_trial_but_an_explosion_is() -> None:
    assert complaints([{**SOUND, "health/dead_share/a": 0.9}, SOUND]) == []
    assert len(complaints([{**SOUND, "health/gradient_norm/a": 1e4}, SOUND])) == 1


def test_an_epoch_that_is_not_watched_makes_nothing_good() -> None:
    assert len(complaints([{**SOUND, "health/dead_share/a": 0.9}, {"train_loss": 0.5}])) == 1


def test_a_deep_stack_of_sigmoids_is_named(digits: TrainingData) -> None:
    (outcome,) = trained(digits, health=True, cuts=(1,), depth=10, norm="none", activation="sigmoid", width=16)
    found = complaints([outcome.measurements[0][1]])
    assert any(bad.startswith("vanishing gradient: network.blocks.0") for bad in found)


def test_the_judgement_imports_no_torch() -> None:
    """`tuneladder trials` is to answer at once."""
    code = "import sys, lightning_modules.health; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
