"""The built-in families' LightningModule: what it logs, how it steps, what it predicts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score, root_mean_squared_error
from torch import Tensor, nn

from lightning_modules.data import ArrayDataModule, BuiltinSource, Split, TrainingData, batches
from lightning_modules.errors import ConfigError
from lightning_modules.recipe import Recipe
from lightning_modules.schedules import preview
from lightning_modules.seeding import seeded
from lightning_modules.task import SupervisedTask, build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, train

MAX_EPOCHS = 4


def source(name: str) -> BuiltinSource:
    return BuiltinSource(name=name, validation_fraction=0.2, test_fraction=0.2, split_seed=0)


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return source("digits").read_training()


@pytest.fixture(scope="module")
def diabetes() -> TrainingData:
    return source("diabetes").read_training()


def make(data: TrainingData, values: dict[str, Any]) -> tuple[SupervisedTask, ArrayDataModule]:
    loader = ArrayDataModule(data, batch_size=values.get("batch_size", 64), seed=0)
    with seeded(0):
        task = build_task("mlp", values, data.info, max_epochs=MAX_EPOCHS, steps_per_epoch=loader.steps_per_epoch)
    return task, loader


def fit(task: SupervisedTask, loader: ArrayDataModule, *, end_epoch: int = MAX_EPOCHS) -> TrainingOutcome:
    chosen = TrainingSettings(metric="val_loss", mode="min", max_epochs=MAX_EPOCHS)
    return train(task, loader, settings=chosen, seed=0, start_epoch=0, end_epoch=end_epoch, checkpoint=None)


def logits_and_target(task: SupervisedTask, split: Split) -> tuple[Tensor, Tensor]:
    task.eval()
    with torch.no_grad():
        parts = [(task(inputs), target) for inputs, target in batches(split)]
    return torch.cat([logits for logits, _ in parts]), torch.cat([target for _, target in parts])


def test_a_classifier_logs_loss_accuracy_and_macro_f1_of_the_whole_split(digits: TrainingData) -> None:
    task, loader = make(digits, {"width": 32, "lr": 0.01})
    outcome = fit(task, loader)
    logged = outcome.measurements[-1][1]
    assert set(logged) == {"train_loss", "val_loss", "val_accuracy", "val_macro_f1", "lr"}
    logits, target = logits_and_target(task, digits.validation)
    predicted = logits.argmax(dim=1)
    assert logged["val_loss"] == pytest.approx(nn.functional.cross_entropy(logits, target).item(), rel=1e-5)
    assert logged["val_accuracy"] == pytest.approx(accuracy_score(target, predicted), rel=1e-5)
    assert logged["val_macro_f1"] == pytest.approx(f1_score(target, predicted, average="macro"), rel=1e-5)
    assert logged["val_accuracy"] > 0.85


def test_a_regressor_logs_errors_in_the_targets_own_unit(diabetes: TrainingData) -> None:
    task, loader = make(diabetes, {"width": 32, "lr": 0.01})
    logged = fit(task, loader).measurements[-1][1]
    assert set(logged) == {"train_loss", "val_loss", "val_rmse", "val_mae", "val_r2", "lr"}
    info = diabetes.info
    logits, target = logits_and_target(task, diabetes.validation)
    predicted = logits.squeeze(1).numpy() * info.target_std + info.target_mean
    true = target.numpy() * info.target_std + info.target_mean
    assert logged["val_rmse"] == pytest.approx(root_mean_squared_error(true, predicted), rel=1e-4)
    assert logged["val_mae"] == pytest.approx(mean_absolute_error(true, predicted), rel=1e-4)
    assert logged["val_r2"] == pytest.approx(r2_score(true, predicted), rel=1e-3)
    assert logged["val_rmse"] < info.target_std


def test_the_training_loss_is_the_mean_over_rows_not_over_batches(digits: TrainingData) -> None:
    """At a learning rate that moves nothing it is the loss of the split, whatever the last batch's size."""
    task, loader = make(digits, {"width": 8, "lr": 1e-30, "dropout": 0.0, "norm": "none", "batch_size": 1000})
    logged = fit(task, loader, end_epoch=1).measurements[-1][1]
    logits, target = logits_and_target(task, digits.train)
    assert len(target) % 1000 not in (0, 1)
    assert logged["train_loss"] == pytest.approx(nn.functional.cross_entropy(logits, target).item(), rel=1e-5)


def test_the_logged_learning_rate_is_that_of_the_epochs_first_step(digits: TrainingData) -> None:
    values = {"lr": 0.01, "schedule": "warmup_cosine", "warmup_epochs": 1.0, "width": 8}
    task, loader = make(digits, values)
    outcome = fit(task, loader)
    steps = loader.steps_per_epoch
    curve = preview(
        Recipe(lr=0.01, schedule="warmup_cosine", warmup_epochs=1.0), steps_per_epoch=steps, max_epochs=MAX_EPOCHS
    )
    assert [metrics["lr"] for _, metrics in outcome.measurements] == pytest.approx(curve[::steps], rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.125])
def test_a_step_is_no_longer_than_the_clipped_gradient(digits: TrainingData, clip_norm: float) -> None:
    """Plain gradient descent with learning rate 1 moves by exactly the gradient."""
    values = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0, "schedule": "constant", "width": 8}
    task, loader = make(digits, values | {"clip_norm": clip_norm, "batch_size": 2000})
    assert loader.steps_per_epoch == 1
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    fit(task, loader, end_epoch=1)
    after = task.network.parameters()
    moved = torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]).norm().item()
    if clip_norm:
        assert moved == pytest.approx(clip_norm, rel=1e-3)
    else:
        assert moved > 0.25


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated")
def test_a_trainers_own_clipping_works_where_the_recipe_clips_nothing(digits: TrainingData) -> None:
    values = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0, "schedule": "constant", "width": 8}
    task, loader = make(digits, values | {"clip_norm": 0.0, "batch_size": 2000})
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        gradient_clip_val=0.125,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=loader)
    moved = [(a - b).flatten() for a, b in zip(task.network.parameters(), before, strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(0.125, rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated")
def test_a_test_logs_the_same_metrics_under_test(digits: TrainingData) -> None:
    task, loader = make(digits, {"width": 32})
    fit(task, loader)
    test = source("digits").read_test()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    (logged,) = trainer.test(task, dataloaders=batches(test), verbose=False)
    assert set(logged) == {"test_loss", "test_accuracy", "test_macro_f1", "test_auroc"}
    logits, target = logits_and_target(task, test)
    assert logged["test_accuracy"] == pytest.approx((logits.argmax(dim=1) == target).float().mean().item())


@pytest.mark.parametrize("with_target", [True, False])
def test_a_classifier_predicts_probabilities(digits: TrainingData, with_target: bool) -> None:
    task, _ = make(digits, {})
    task.eval()
    batch = next(iter(batches(digits.validation)))
    probabilities = task.predict_step(batch if with_target else batch[0])
    assert probabilities.shape == (len(batch[1]), 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(batch[1])))
    torch.testing.assert_close(probabilities, task(batch[0]).softmax(dim=1))


def test_a_classifier_on_one_logit_predicts_both_classes() -> None:
    data = source("breast_cancer").read_training()
    task, loader = make(data, {"loss": "bce", "width": 16})
    logged = fit(task, loader).measurements[-1][1]
    probabilities = task.eval().predict_step(next(iter(batches(data.validation))))
    assert probabilities.shape == (len(data.validation), 2)
    accuracy = (probabilities.argmax(dim=1).numpy() == data.validation.target).mean()
    assert logged["val_accuracy"] == pytest.approx(accuracy, rel=1e-5)


def test_a_regressor_predicts_values_in_the_targets_own_unit(diabetes: TrainingData) -> None:
    task, loader = make(diabetes, {"width": 32, "lr": 0.01})
    fit(task, loader)
    predicted = task.eval().predict_step(next(iter(batches(diabetes.validation)))).detach().numpy()
    assert predicted.shape == (len(diabetes.validation),)
    assert abs(np.mean(predicted) - diabetes.info.target_mean) < diabetes.info.target_std


def test_hyperparameters_are_json_primitives_that_rebuild_the_task(digits: TrainingData) -> None:
    task, loader = make(digits, {"width": 16, "activation": "gelu", "lr": 0.003})
    saved = json.loads(json.dumps(dict(task.hparams)))
    assert (saved["family"], saved["width"], saved["activation"], saved["lr"]) == ("mlp", 16, "gelu", 0.003)
    family, max_epochs, steps = saved.pop("family"), saved.pop("max_epochs"), saved.pop("steps_per_epoch")
    assert (max_epochs, steps) == (MAX_EPOCHS, loader.steps_per_epoch)
    again = build_task(family, saved, digits.info, max_epochs=max_epochs, steps_per_epoch=steps)
    again.load_state_dict(task.state_dict())
    assert again.hparams == task.hparams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 3}, "did you mean 'width'"),
        ({"dropout": 1.5}, "dropout: "),
        ({"loss": "mse"}, "a loss must fit the task, got 'mse' for classification"),
    ],
)
def test_settings_that_do_not_fit_are_config_errors(
    digits: TrainingData, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(digits, values)
