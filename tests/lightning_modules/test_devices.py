"""Every family trains on CPU and GPU, in 32 bits and in bf16: the same tests, the GPU's marked `gpu`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_networks import SERIES, TABLE, TEXT, batch, images

from lightning_modules.blocks.pooling import POOLINGS, make_pooling
from lightning_modules.checkpointing import best_state
from lightning_modules.data import ArrayDataModule, BuiltinSource, Split, TrainingData, batches
from lightning_modules.data.base import DataInfo
from lightning_modules.families import FAMILIES
from lightning_modules.losses import make_loss, num_outputs
from lightning_modules.recipe import Recipe
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import Precision, TrainingOutcome, TrainingSettings, evaluate_best, train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
KINDS = [
    ("mlp", TABLE, {}),
    ("mlp", images(1, 7, 5), {"block": "swiglu", "norm": "layer"}),
    ("cnn", images(3, 9, 11), {"block": "residual", "width": 8}),
    ("cnn", SERIES, {"block": "temporal", "width": 8, "norm": "layer"}),
    ("rnn", TEXT, {"embedding_dim": 8, "width": 8, "lr": 0.03}),
    ("rnn", SERIES, {"cell": "lstm", "width": 8, "pooling": "attention", "lr": 0.05}),
]


def parametrize(kinds: list[tuple[str, DataInfo, dict[str, Any]]]) -> pytest.MarkDecorator:
    names = [f"{family}-{info.kind}" for family, info, _ in kinds]
    return pytest.mark.parametrize(("family", "info", "values"), kinds, ids=names)


def rows_to_learn(info: DataInfo, num_rows: int = 65) -> TrainingData:
    """Draw rows with random classes: a network learns them by heart. Batches of 32 leave a last one of one row."""
    with seeded(0):
        inputs, target = batch(info, rows=num_rows)
    split = Split(inputs={name: values.numpy() for name, values in inputs.items()}, target=target.numpy())
    return TrainingData(info=info, train=split, validation=split)


def fit(
    family: str, data: TrainingData, values: dict[str, Any], *, device: str, precision: Precision, epochs: int
) -> tuple[TrainingOutcome, TrainingSettings]:
    chosen = TrainingSettings(
        metric="val_accuracy", mode="max", max_epochs=epochs, accelerator=device, precision=precision
    )
    loader = ArrayDataModule(data, batch_size=32, seed=0, device=device)
    with seeded(0, cuda=device == "cuda"):
        task = build_task(family, values, data.info, max_epochs=epochs, steps_per_epoch=loader.steps_per_epoch)
    outcome = train(task, loader, settings=chosen, seed=0, start_epoch=0, end_epoch=epochs, checkpoint=None)
    return outcome, chosen


@parametrize(KINDS)
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_family_trains_on_every_kind_of_data(
    family: str, info: DataInfo, values: dict[str, Any], device: str, precision: Precision
) -> None:
    """With class weights, dropout and clipping; the result is read on the CPU, and evaluates to what was measured.

    The last batch of an epoch has one row, which batch norm could not take: it is left out.
    """
    data = rows_to_learn(replace(info, num_train=65, num_validation=65))
    recipe = {"lr": 0.01, "clip_norm": 1.0, "class_weights": "balanced" if info.class_counts else "none"}
    values = {"dropout": 0.1, **recipe, **values}
    outcome, chosen = fit(family, data, values, device=device, precision=precision, epochs=8)
    assert outcome.state == "completed"
    losses = [metrics["train_loss"] for _, metrics in outcome.measurements]
    assert losses[-1] < 0.9 * losses[0]
    weights, best_epoch, best_value = best_state(outcome.checkpoint)
    assert {weight.device.type for weight in weights.values()} == {"cpu"}
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}

    loader = batches(data.validation, device=device)
    again = build_task(family, values, info, max_epochs=8, steps_per_epoch=2)
    tested = evaluate_best(again, loader, settings=chosen, checkpoint=outcome.checkpoint)
    assert tested["test_accuracy"] == pytest.approx(best_value, abs=1e-6)
    assert outcome.measurements[best_epoch - 1][1]["val_accuracy"] == best_value


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("device", DEVICES)
def test_bf16_reaches_the_accuracy_of_32_bits(family: str, device: str) -> None:
    data = BuiltinSource(name="digits", validation_fraction=0.3, test_fraction=0.3, split_seed=0).read_training()
    values = {"lr": 0.005, "width": 16 if family == "cnn" else 64}
    best = {}
    for precision in ("32", "bf16"):
        outcome, _ = fit(family, data, values, device=device, precision=precision, epochs=6)
        best[precision] = best_state(outcome.checkpoint)[2]
    assert best["32"] > 0.93
    assert best["bf16"] == pytest.approx(best["32"], abs=0.02), "about ten rows of the 539"


def to(device: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.to(device) for name, values in inputs.items()}


@parametrize([kind for kind in KINDS if kind[0] != "rnn"])  # packing wants lengths on the CPU
def test_no_network_makes_tensors_on_a_device_of_its_own(
    family: str, info: DataInfo, values: dict[str, Any]
) -> None:
    """On torch's meta device, which mixes with no other, as CUDA does not mix with the CPU."""
    network, (inputs, _) = FAMILIES[family].config(**values).build(info), batch(info)
    with pytest.raises(RuntimeError, match="device"):
        network(to("meta", inputs))
    assert network.to("meta")(to("meta", inputs)).device.type == "meta"


@pytest.mark.parametrize("name", POOLINGS)
def test_no_pooling_makes_tensors_on_a_device_of_its_own(name: str) -> None:
    pool = make_pooling(name, 4, backward_features=2).to("meta")
    steps, lengths = torch.randn(3, 5, 4, device="meta"), torch.tensor([5, 1, 3], device="meta")
    assert pool(steps, lengths).device.type == "meta"


@pytest.mark.parametrize(
    ("loss", "task"),
    [("cross_entropy", "two"), ("focal", "two"), ("bce", "two"), ("mse", "values"), ("huber", "values")],
)
def test_no_loss_makes_tensors_on_a_device_of_its_own(loss: str, task: str) -> None:
    info = replace(TABLE, num_outputs=2, class_counts=(15, 5))
    target = torch.tensor([0, 1, 1])
    if task == "values":
        info, target = replace(info, task="regression", num_outputs=1, class_counts=()), torch.randn(3)
    recipe = Recipe(loss=loss, label_smoothing=0.1, class_weights="balanced" if task == "two" else "none")
    logits = torch.randn(3, num_outputs(recipe, info))
    module: nn.Module = make_loss(recipe, info).to("meta")
    assert module(logits.to("meta"), target.to("meta")).device.type == "meta"
