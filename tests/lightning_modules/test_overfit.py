"""The overfit check: sound defaults pass, and each kind of breakage is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.data import BuiltinSource, DataInfo, Split, TrainingData
from lightning_modules.data.module import TensorSplit
from lightning_modules.overfit import NUM_ROWS, OverfitReport, check_overfit, loss_bounds, pick_rows
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings

SETTINGS = TrainingSettings(metric="val_loss", mode="min", max_epochs=5)


def read(name: str = "digits") -> TrainingData:
    return BuiltinSource(name=name, validation_fraction=0.15, test_fraction=0.15, split_seed=0).read_training()


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return read()


def batch_of(data: TrainingData) -> Any:
    return TensorSplit(data.train).select(torch.from_numpy(pick_rows(data.train, data.info)))


def check(data: TrainingData, family: str = "mlp", *, batch: Any = None, **settings: Any) -> OverfitReport:
    def make() -> pl.LightningModule:
        with seeded(1):
            return build_task(family, {"lr": 2e-3, **settings}, data.info, max_epochs=5, steps_per_epoch=10)

    return check_overfit(make, batch_of(data) if batch is None else batch, settings=SETTINGS, seed=1)


@pytest.mark.parametrize(("name", "family"), [("digits", "mlp"), ("digits", "cnn"), ("diabetes", "mlp")])
def test_the_defaults_of_a_family_pass_in_a_few_steps(name: str, family: str) -> None:
    report = check(read(name), family)
    assert (report.outcome, report.suspect) == ("passed", None)
    assert report.attempts[0].num_steps < 100


def test_what_regularizes_is_switched_off(digits: TrainingData) -> None:
    """With any of it, the loss of a batch would not come near zero."""
    assert (
        check(digits, dropout=0.9, weight_decay=1.0, label_smoothing=0.5, schedule="one_cycle").outcome == "passed"
    )


def test_the_check_is_a_function_of_its_arguments(digits: TrainingData) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = check(digits)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert check(digits) == first


def test_shuffled_labels_are_no_obstacle_but_equal_ones_are(digits: TrainingData) -> None:
    inputs, target = batch_of(digits)
    assert check(digits, batch=(inputs, target.flip(0))).outcome == "passed"
    report = check(digits, batch=(inputs, torch.full_like(target, 3)))
    assert (report.outcome, report.suspect) == ("failed", "labels")
    assert "all have the same target" in report.message


def test_identical_inputs_with_different_labels_are_the_labels_fault(digits: TrainingData) -> None:
    inputs, target = batch_of(digits)
    report = check(digits, batch=({"image": inputs["image"][:1].expand_as(inputs["image"])}, target))
    assert (report.outcome, report.suspect) == ("failed", "labels")
    assert "identical inputs have different targets" in report.message


def test_two_rows_that_disagree_leave_the_others_to_learn(digits: TrainingData) -> None:
    """The floor of the loss is what their disagreement costs, and the check knows it."""
    inputs, target = batch_of(digits)
    image = inputs["image"].clone()
    image[1] = image[0]
    assert check(digits, batch=({"image": image}, target)).outcome == "passed"


def test_inputs_that_are_not_finite_are_named(digits: TrainingData) -> None:
    inputs, target = batch_of(digits)
    report = check(digits, batch=({"image": inputs["image"] * math.nan}, target))
    assert (report.outcome, report.suspect) == ("failed", "inputs")


def test_ten_layers_of_sigmoids_are_the_networks_fault(digits: TrainingData) -> None:
    report = check(digits, depth=10, norm="none", activation="sigmoid")
    assert (report.outcome, report.suspect) == ("failed", "network")
    assert [attempt.lr_factor for attempt in report.attempts] == [1.0, 0.1, 10.0]
    assert "at any of three learning rates" in report.message


@pytest.mark.parametrize(("lr", "remedy", "falls"), [(3e-4, "raise it", True), (1e-8, "raise it by far", False)])
def test_a_low_learning_rate_is_blamed_before_the_network(
    digits: TrainingData, lr: float, remedy: str, falls: bool
) -> None:
    report = check(digits, width=16, norm="none", optimizer="adam", lr=lr)
    assert (report.outcome, report.suspect) == ("other_lr", "learning rate")
    assert report.message.endswith(remedy)
    assert report.falls is falls


def test_a_high_learning_rate_is_blamed_before_the_network(digits: TrainingData) -> None:
    report = check(digits, norm="none", optimizer="sgd", lr=5.0)
    assert (report.outcome, report.suspect) == ("other_lr", "learning rate")
    assert report.message.endswith("lower it")


class Broken(pl.LightningModule):
    """A module of one's own that is broken in one way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.second, self.how = nn.Linear(2, 8), nn.Linear(8, 1), how

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        x, y = batch
        hidden = self.first(x)
        if self.how == "detached":
            hidden = hidden.detach() * 0.0
        loss = (self.second(hidden)[:, 0] - y).square().mean()
        if self.how == "offset":
            loss = loss + 100.0
        return torch.log(loss - loss - 1.0) if self.how == "nan" else loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": schedule, "monitor": "val_loss"}


def check_own(how: str) -> OverfitReport:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 2, generator=generator)
    y = x.sum(dim=1) * (20.0 if how == "offset" else 1.0)

    def make() -> Broken:
        with seeded(1):
            return Broken(how)

    return check_overfit(make, [x, y], settings=SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("how", "suspect", "reason"),
    [
        ("detached", "network", "no gradient ever reaches first.weight"),
        ("nan", "loss", "not finite before the first step"),
    ],
)
def test_a_broken_module_of_ones_own_is_found_out(how: str, suspect: str, reason: str) -> None:
    report = check_own(how)
    assert (report.outcome, report.suspect) == ("failed", suspect)
    assert reason in report.message


@pytest.mark.parametrize("how", ["sound", "offset"])
def test_of_a_loss_with_an_unknown_floor_a_fall_is_enough(how: str) -> None:
    assert check_own(how).outcome == "passed"


def test_rows_are_of_all_classes_in_turn_or_from_low_to_high() -> None:
    info = DataInfo(kind="tabular", task="classification", num_outputs=3, num_train=0, num_validation=0)
    target = np.array([2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2], dtype=np.int64)
    split = Split(inputs={}, target=target)
    assert target[pick_rows(split, info)].tolist() == [0, 1, 2, 0, 2, 0, 0, 0]
    values = np.arange(100, dtype=np.float32)[::-1].copy()
    regression = DataInfo(kind="tabular", task="regression", num_outputs=1, num_train=0, num_validation=0)
    chosen = values[pick_rows(Split(inputs={}, target=values), regression)]
    assert (len(chosen), chosen[0], chosen[-1]) == (NUM_ROWS, 0.0, 99.0)


def test_the_bounds_of_a_loss_are_variance_and_entropy() -> None:
    y = torch.tensor([0.0, 2.0, 4.0, 10.0])
    x = {"numeric": torch.tensor([[1.0], [1.0], [2.0], [3.0]])}

    def mse(column: Tensor, target: Tensor) -> Tensor:
        return (column[:, 0] - target).square().mean()

    bounds = loss_bounds(mse, x, y, num_columns=1)  # type: ignore[arg-type]
    assert bounds.reference == pytest.approx(float(y.var(unbiased=False)))
    assert bounds.floor == pytest.approx((1.0 + 1.0) / 4)
    labels = torch.tensor([0, 1, 1, 1])
    bounds = loss_bounds(nn.CrossEntropyLoss(), x, labels, num_columns=2)
    assert bounds.reference == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), rel=1e-5)
    assert bounds.floor == pytest.approx(0.5 * math.log(2), rel=1e-5)
