"""The range test: learning rates grow by a constant factor, and the curve is what it should be for a parabola."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.data import ArrayDataModule, BuiltinSource
from lightning_modules.lr_range import measure_lr_range
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings

SETTINGS = TrainingSettings(metric="val_loss", mode="min", max_epochs=3)


class Parabola(pl.LightningModule):
    """Loss w^2 / 2 from w = 1: a step multiplies w by 1 - lr."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.w.square().sum() / 2

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=123.0)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def test_each_step_has_its_own_learning_rate_and_loss() -> None:
    steps = measure_lr_range(
        Parabola(), [torch.zeros(1)], low=0.01, high=1.0, num_steps=11, settings=SETTINGS, seed=0
    )
    rates = [lr for lr, _ in steps]
    assert (rates[0], rates[-1], len(rates)) == (pytest.approx(0.01), pytest.approx(1.0), 11)
    assert [b / a for a, b in pairwise(rates)] == pytest.approx([100**0.1] * 10)
    w = 1.0
    for lr, loss in steps:
        assert loss == pytest.approx(w * w / 2)
        w *= 1 - lr


def test_it_ends_where_the_loss_blows_up() -> None:
    steps = measure_lr_range(
        Parabola(), [torch.zeros(1)], low=0.5, high=1e4, num_steps=300, settings=SETTINGS, seed=0
    )
    assert len(steps) < 100
    assert steps[-1][0] > 2.0


def test_the_same_seed_gives_the_same_curve_whatever_the_state_of_the_process() -> None:
    data = BuiltinSource(name="wine", validation_fraction=0.2, test_fraction=0.2, split_seed=0).read_training()

    def measure(seed: int) -> list[tuple[float, float]]:
        loader = ArrayDataModule(data, batch_size=16, seed=seed).train_dataloader()
        with seeded(seed):
            task = build_task("mlp", {"dropout": 0.3}, data.info, max_epochs=3, steps_per_epoch=6)
        return measure_lr_range(task, loader, low=1e-4, high=0.1, num_steps=30, settings=SETTINGS, seed=seed)

    first = measure(1)
    torch.manual_seed(99)
    assert measure(1) == first
    assert measure(2) != first
    assert all(math.isfinite(loss) for _, loss in first)
    assert len(first) == 30


def test_a_range_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 < low < high and num_steps >= 2 must hold, got 1, 1, 5: widen"):
        measure_lr_range(Parabola(), [], low=1, high=1, num_steps=5, settings=SETTINGS, seed=0)
