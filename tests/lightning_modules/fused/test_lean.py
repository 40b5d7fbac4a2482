"""A trial without a Trainer is what Lightning's Trainer makes of it, to the last bit of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from cohorts import SMALL, assert_close, assert_same, how, make_data, one_by_one

from lightning_modules.checkpointing import best_state, read_checkpoint
from lightning_modules.data import ArrayDataModule, TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.fused import can_train_lean, train_lean
from lightning_modules.optimizers import OPTIMIZERS
from lightning_modules.schedules import SCHEDULES
from lightning_modules.task import SupervisedTask, build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, train
from lightning_modules.transfer import Start


def both_ways(
    family: str, values: Mapping[str, Any], data: TrainingData, *, settings: TrainingSettings, **more: Any
) -> TrainingOutcome:
    """Train with and without a Trainer, and compare every bit."""
    given = {**SMALL[family], **values}
    with_trainer, lean = (
        one_by_one(family, given, data, settings=settings, seed=3, by=by, **more) for by in (train, train_lean)
    )
    assert_same(with_trainer, lean, tolerance=0.0)
    return lean


@pytest.mark.parametrize(
    ("family", "kind", "values"),
    [
        ("mlp", "tabular", {}),
        ("mlp", "tabular", {"dropout": 0.5, "norm": "layer"}),
        ("cnn", "image", {}),
        ("cnn", "image", {"horizontal_flip": 0.5, "cutout": 0.3, "mixup": 0.2}),
        ("cnn", "series", {"norm": "batch", "activation": "rrelu"}),
        ("rnn", "text", {}),
        ("rnn", "text", {"cell": "lstm", "word_dropout": 0.3}),
        ("rnn", "series", {"cell": "vanilla", "bidirectional": False}),
    ],
)
def test_every_family_with_dropout_and_health(family: str, kind: str, values: dict[str, Any]) -> None:
    both_ways(family, values, make_data(kind), settings=how(precision="32", health=True))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str, task: str) -> None:
    data = make_data("tabular", task=task)
    both_ways("mlp", {"optimizer": optimizer, "clip_norm": 0.1}, data, settings=how(precision="32"))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(schedule: str) -> None:
    values = {"schedule": schedule, "warmup_epochs": 1.5}
    outcome = both_ways("mlp", values, make_data("tabular"), settings=how(precision="32"))
    assert len({metrics["lr"] for _, metrics in outcome.measurements}) > 1 or schedule in ("constant", "plateau")


@pytest.mark.parametrize("first", [train, train_lean])
@pytest.mark.parametrize("schedule", ["one_cycle", "plateau", "step"])
def test_either_way_goes_on_from_the_others_checkpoint(first: Any, schedule: str) -> None:
    values, data, settings = {**SMALL["mlp"], "schedule": schedule}, make_data("tabular"), how(precision="32")
    piece = one_by_one("mlp", values, data, settings=settings, seed=3, end_epoch=2, by=first)
    second = train if first is train_lean else train_lean
    more: dict[str, Any] = {"start_epoch": 2, "end_epoch": 4}
    rest = one_by_one(
        "mlp", values, data, settings=settings, seed=3, checkpoint=piece.checkpoint, by=second, **more
    )
    whole = one_by_one("mlp", values, data, settings=settings, seed=3, end_epoch=4)
    assert piece.measurements + rest.measurements == whole.measurements
    assert_close(read_checkpoint(whole.checkpoint), read_checkpoint(rest.checkpoint), "checkpoint", tolerance=0.0)


def test_patience_and_divergence_end_a_trial_where_they_did() -> None:
    data, settings = make_data("tabular"), how(precision="32", patience=1, max_epochs=20)
    tired = both_ways("mlp", {"lr": 0.1}, data, settings=settings, end_epoch=20)
    assert tired.state == "completed"
    assert len(tired.measurements) < 20
    values = {**SMALL["mlp"], "lr": 10.0, "optimizer": "sgd", "norm": "none"}
    data.train.inputs["numeric"][:] *= 1e30
    diverged = [one_by_one("mlp", values, data, settings=settings, seed=3, by=by) for by in (train, train_lean)]
    assert repr(diverged[0].measurements) == repr(diverged[1].measurements)  # nan is not equal to itself
    assert [outcome.state for outcome in diverged] == ["diverged"] * 2


def test_frozen_weights_thaw_when_they_did() -> None:
    data, settings = make_data("tabular"), how(precision="32")
    before = one_by_one("mlp", SMALL["mlp"], data, settings=settings, seed=9, end_epoch=1)
    weights, *_ = best_state(before.checkpoint)
    start = Start(weights={name.removeprefix("network."): part for name, part in weights.items()})
    values = {"freeze_epochs": 1, "loaded_lr_factor": 0.1}
    both_ways("mlp", values, data, settings=settings, start=start)


def test_what_it_does_not_take_is_refused() -> None:
    data = make_data("tabular")
    task = build_task("mlp", SMALL["mlp"], data.info, max_epochs=4, steps_per_epoch=5)
    loader = ArrayDataModule(data, batch_size=8, seed=0)
    assert can_train_lean(task, loader, how(precision="32"))
    assert not can_train_lean(task, loader, how(precision="64"))
    assert not can_train_lean(task, loader, how(precision="32", accelerator="cuda"))

    class OwnTask(SupervisedTask):
        """Might have hooks."""

    task.__class__ = OwnTask
    assert not can_train_lean(task, loader, how(precision="32"))
    with pytest.raises(ValueError, match="use train"):
        train_lean(task, loader, settings=how(precision="32"), seed=0, start_epoch=0, end_epoch=1, checkpoint=None)


@pytest.mark.parametrize("by", [train, train_lean])
def test_a_missing_objective_and_a_batch_of_one_row_are_named(by: Any) -> None:
    data = make_data("tabular")
    with pytest.raises(ValueError, match="the objective must be logged"):
        one_by_one("mlp", SMALL["mlp"], data, settings=how(precision="32", metric="val_f1"), seed=0, by=by)
    with pytest.raises((ConfigError, ValueError), match="batch"):
        one_by_one("mlp", {**SMALL["mlp"], "batch_size": 1}, data, settings=how(precision="32"), seed=0, by=by)
