"""Starting from earlier weights: what is loaded, what is frozen, and that it pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.checkpointing import best_state, read_checkpoint
from lightning_modules.data import ArrayDataModule, BuiltinSource, DataInfo, Split, TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.rnn import RNNConfig
from lightning_modules.seeding import seeded
from lightning_modules.task import SupervisedTask, build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, train
from lightning_modules.transfer import Start, load_start

EPOCHS = 4


def digits_of(classes: tuple[int, ...], *, rows_per_class: int) -> TrainingData:
    """Some digits alone, as classes 0, 1, 2, ..."""
    data = BuiltinSource(name="digits", validation_fraction=0.3, test_fraction=0.2, split_seed=0).read_training()

    def pick(split: Split, limit: int) -> Split:
        rows = np.concatenate([np.flatnonzero(split.target == digit)[:limit] for digit in classes])
        target = np.searchsorted(classes, split.target[rows]).astype(np.int64)
        return Split(inputs={name: x[rows] for name, x in split.inputs.items()}, target=target)

    info = replace(data.info, num_outputs=len(classes), class_names=tuple(map(str, classes)), class_counts=())
    return replace(data, info=info, train=pick(data.train, rows_per_class), validation=pick(data.validation, 1000))


@pytest.fixture(scope="module")
def others() -> TrainingData:
    """Sixty rows each of five digits."""
    return digits_of((5, 6, 7, 8, 9), rows_per_class=60)


@pytest.fixture(scope="module")
def start() -> Start:
    """A network that tells five other digits apart."""
    data = digits_of((0, 1, 2, 3, 4), rows_per_class=1000)
    return start_after(trained(data, seed=0, end=EPOCHS), data)


def start_after(outcome: TrainingOutcome, data: TrainingData) -> Start:
    weights = {name.removeprefix("network."): value for name, value in best_state(outcome.checkpoint)[0].items()}
    return Start(weights=weights, class_names=data.info.class_names)


def task_of(data: TrainingData, start: Start | None, *, seed: int = 0, **settings: Any) -> SupervisedTask:
    family = settings.pop("family", "mlp")
    chosen = {**({"width": 64, "dropout": 0.1, "lr": 0.005} if family == "mlp" else {}), **settings}
    steps = ArrayDataModule(data, batch_size=16, seed=seed).steps_per_epoch
    with seeded(seed):
        return build_task(family, chosen, data.info, max_epochs=EPOCHS, steps_per_epoch=steps, start=start)


def trained(
    data: TrainingData,
    start: Start | None = None,
    *,
    seed: int,
    end: int,
    cuts: tuple[int, ...] = (),
    **settings: Any,
) -> TrainingOutcome:
    how = TrainingSettings(metric="val_accuracy", mode="max", max_epochs=EPOCHS)
    begin, checkpoint = 0, None
    for stop in (*cuts, end):
        outcome = train(
            task_of(data, start, seed=seed, **settings),
            ArrayDataModule(data, batch_size=16, seed=seed),
            settings=how,
            seed=seed,
            start_epoch=begin,
            end_epoch=stop,
            checkpoint=checkpoint,
        )
        begin, checkpoint = stop, outcome.checkpoint
    return outcome


def weights_after(outcome: TrainingOutcome) -> dict[str, torch.Tensor]:
    return {k.removeprefix("network."): v for k, v in read_checkpoint(outcome.checkpoint)["state_dict"].items()}


def test_after_one_epoch_it_is_better_than_from_scratch(others: TrainingData) -> None:
    """Convolutions that were learnt on 0 to 4 help with 5 to 9, of which there are few rows."""
    cnn = {"family": "cnn", "width": 16, "norm": "none", "head_grid": 2, "optimizer": "momentum"}
    cnn |= {"lr": 0.01, "dropout": 0.0}
    before = digits_of((0, 1, 2, 3, 4), rows_per_class=1000)
    start = start_after(trained(before, seed=0, end=EPOCHS, **cnn), before)
    gains = []
    for seed in (1, 2, 3, 4):
        scratch = trained(others, seed=seed, end=1, **cnn).measurements[0][1]["val_accuracy"]
        later = trained(others, start, seed=seed, end=1, loaded_lr_factor=1.0, **cnn).measurements[0][1]
        gains.append(later["val_accuracy"] - scratch)
    assert min(gains) > 0.0
    assert sum(gains) / len(gains) > 0.03


def test_the_head_is_new_where_the_classes_differ_and_loaded_where_they_do_not(start: Start) -> None:
    same, other = (task_of(digits_of(c, rows_per_class=8), start) for c in ((0, 1, 2, 3, 4), (1, 2, 3, 4, 5)))
    assert torch.equal(same.network.output.weight, start.weights["output.weight"])
    assert not torch.equal(other.network.output.weight, start.weights["output.weight"])
    for task in (same, other):
        first = task.network.blocks[0].linear.weight
        assert torch.equal(first, start.weights["blocks.0.linear.weight"])


def test_what_is_frozen_does_not_change_before_its_epoch_and_does_after_it(
    others: TrainingData, start: Start
) -> None:
    frozen, thawed = (weights_after(trained(others, start, seed=1, end=end, freeze_epochs=2)) for end in (2, 3))
    body = [name for name in start.weights if not name.startswith("output.") and "num_batches" not in name]
    assert any("running_mean" in name for name in body)
    assert all(torch.equal(frozen[name], start.weights[name]) for name in body)
    assert not any(torch.equal(thawed[name], frozen[name]) for name in body)
    fresh = task_of(others, start, seed=1).network.output.weight
    assert not torch.equal(frozen["output.weight"], fresh)


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "rmsprop"])
@pytest.mark.parametrize("schedule", ["cosine", "plateau", "one_cycle"])
def test_a_trial_in_pieces_ends_where_one_in_a_whole_ends(
    others: TrainingData, start: Start, optimizer: str, schedule: str
) -> None:
    how: dict[str, Any] = {"freeze_epochs": 2, "optimizer": optimizer, "schedule": schedule}
    whole = weights_after(trained(others, start, seed=1, end=4, **how))
    pieces = weights_after(trained(others, start, seed=1, end=4, cuts=(1, 2, 3), **how))
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)


def test_loaded_parameters_have_their_own_learning_rate_all_along_the_schedule(
    others: TrainingData, start: Start
) -> None:
    task = task_of(others, start, loaded_lr_factor=0.2)
    configured: Any = task.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    body = set(map(id, (p for name, p in task.network.named_parameters() if not name.startswith("output."))))
    for _ in range(5):
        for group in optimizer.param_groups:
            is_loaded = id(group["params"][0]) in body
            assert all((id(p) in body) == is_loaded for p in group["params"])
            new = optimizer.param_groups[0]["lr"]
            assert group["lr"] == pytest.approx(0.2 * new if is_loaded else new)
        optimizer.step()
        schedule.step()
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == set(map(id, task.network.parameters()))


def test_another_shape_is_refused_with_the_weight_and_both_shapes(others: TrainingData, start: Start) -> None:
    with pytest.raises(ConfigError, match=r"blocks\.0\.\S+ has shape \(32,.*here and shape \(64,"):
        task_of(others, start, width=32)


def test_words_that_both_know_keep_their_embedding_wherever_they_stand() -> None:
    info = DataInfo(
        kind="text",
        task="classification",
        num_outputs=2,
        num_train=0,
        num_validation=0,
        vocabulary_size=4,
        max_length=3,
    )
    config = RNNConfig(width=4, embedding_dim=3)
    old, new = (config.build(replace(info, vocabulary_size=size)) for size in (4, 5))
    fresh = new.state_dict()["embedding.weight"].clone()
    start = Start(weights=old.state_dict(), class_names=("a", "b"), words=("<pad>", "<unk>", "cat", "dog"))
    load_start(new, start, info, words=("<pad>", "<unk>", "dog", "bird", "cat"))
    loaded, theirs = new.state_dict()["embedding.weight"], start.weights["embedding.weight"]
    assert torch.equal(loaded[[0, 1, 2, 4]], theirs[[0, 1, 3, 2]])
    assert torch.equal(loaded[3], fresh[3])
