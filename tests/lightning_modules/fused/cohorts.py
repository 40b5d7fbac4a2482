"""Toy data, members trained one by one, and what it means that both ways of training are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_modules.augmentation import make_augmentation
from lightning_modules.checkpointing import read_checkpoint
from lightning_modules.data import ArrayDataModule, DataInfo, Split, TrainingData
from lightning_modules.families import split_settings
from lightning_modules.fused import CohortMember, train_cohort
from lightning_modules.fused.noise import Noise
from lightning_modules.seeding import epoch_seed, seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, train
from lightning_modules.transfer import Start

EPOCHS = 3
ROWS, VALIDATION_ROWS, CLASSES = 36, 13, 3  # batches of 8, and a last one of 4
FIRST_SEED = 100

# What every cohort of these tests is made of: members that share nothing but their shape.
THREE: tuple[dict[str, Any], ...] = (
    {"lr": 1e-3},
    {"lr": 1e-2, "weight_decay": 0.1, "schedule": "one_cycle"},
    {"lr": 3e-3, "clip_norm": 0.05, "label_smoothing": 0.2, "schedule": "plateau"},
)
NO_DROPOUT: Mapping[str, dict[str, Any]] = {
    "mlp": {"dropout": 0.0},
    "cnn": {"dropout": 0.0},
    "rnn": {"dropout": 0.0, "embedding_dropout": 0.0},
}
SMALL: Mapping[str, dict[str, Any]] = {
    "mlp": {"width": 6, "depth": 2, "embedding_dim": 2, "batch_size": 8},
    "cnn": {"width": 4, "stages": 2, "head_width": 5, "head_grid": 2, "batch_size": 8},
    "rnn": {"width": 5, "embedding_dim": 4, "batch_size": 8},
}


def make_data(kind: str, *, same_length: bool = False, task: str = "classification") -> TrainingData:
    """Draw rows whose target follows from their first numbers."""
    info = DataInfo(
        kind=kind,  # type: ignore[arg-type]
        task=task,  # type: ignore[arg-type]
        num_outputs=CLASSES if task == "classification" else 1,
        num_train=ROWS,
        num_validation=VALIDATION_ROWS,
        num_features={"tabular": 4, "series": 2}.get(kind, 0),
        cardinalities=(3, 5) if kind == "tabular" else (),
        image_shape=(1, 8, 8) if kind == "image" else None,
        vocabulary_size=11 if kind == "text" else 0,
        max_length=7 if kind in ("text", "series") else 0,
        class_names=("a", "b", "c") if task == "classification" else (),
        class_counts=(20, 10, 4) if task == "classification" else (),
        target_mean=2.0,
        target_std=3.0,
    )
    generator = np.random.default_rng(0)
    splits = [_split(info, generator, rows, same_length=same_length) for rows in (ROWS, VALIDATION_ROWS)]
    return TrainingData(info=info, train=splits[0], validation=splits[1])


def _split(info: DataInfo, generator: np.random.Generator, rows: int, *, same_length: bool) -> Split:
    inputs: dict[str, Any]
    if info.kind == "image":
        inputs = {"image": generator.standard_normal((rows, *(info.image_shape or ()))).astype(np.float32)}
        signal = inputs["image"].mean(axis=(1, 2, 3))
    elif info.kind == "tabular":
        codes = np.stack([generator.integers(0, size, rows) for size in info.cardinalities], axis=1)
        inputs = {"numeric": generator.standard_normal((rows, info.num_features)).astype(np.float32)}
        signal = inputs["numeric"][:, 0] + codes[:, 0]
        inputs["categories"] = codes
    else:
        steps = info.max_length
        lengths = np.full(rows, steps) if same_length else generator.integers(1, steps + 1, rows)
        behind = np.arange(steps) >= lengths[:, None]
        if info.kind == "text":
            x: Any = generator.integers(1, info.vocabulary_size, (rows, steps))
            signal = x[:, 0].astype(np.float64)
        else:
            x = generator.standard_normal((rows, steps, info.num_features)).astype(np.float32)
            signal = x[:, 0, 0]
        x[behind] = 0
        inputs = {"tokens" if info.kind == "text" else "series": x, "lengths": lengths}
    if info.task == "regression":
        return Split(inputs=inputs, target=((signal - signal.mean()) / signal.std()).astype(np.float32))
    edges = np.quantile(signal, [0.4, 0.8])
    return Split(inputs=inputs, target=np.digitize(signal, edges).astype(np.int64))


def how(
    *,
    precision: Any = "64",
    max_epochs: int = EPOCHS + 1,
    metric: str = "val_loss",
    mode: Any = "min",
    **more: Any,
) -> TrainingSettings:
    """Say how the tests train."""
    return TrainingSettings(metric=metric, mode=mode, max_epochs=max_epochs, precision=precision, **more)


def one_by_one(
    family: str,
    values: Mapping[str, Any],
    data: TrainingData,
    *,
    settings: TrainingSettings,
    seed: int,
    start_epoch: int = 0,
    end_epoch: int = EPOCHS,
    checkpoint: bytes | None = None,
    start: Start | None = None,
    by: Callable[..., TrainingOutcome] = train,
) -> TrainingOutcome:
    """Train a member alone, with Lightning's Trainer or otherwise."""
    with seeded(seed):
        _, recipe = split_settings(family, values)
        augment = make_augmentation(recipe, data, seed=seed)
        loader = ArrayDataModule(data, batch_size=recipe.batch_size, seed=seed, augment=augment)
        task = build_task(
            family,
            values,
            data.info,
            max_epochs=settings.max_epochs,
            steps_per_epoch=loader.steps_per_epoch,
            auroc=settings.metric == "val_auroc",
            start=start,
        )
    return by(
        task,
        loader,
        settings=settings,
        seed=seed,
        start_epoch=start_epoch,
        end_epoch=end_epoch,
        checkpoint=checkpoint,
    )


def together(
    family: str,
    values: Sequence[Mapping[str, Any]],
    data: TrainingData,
    *,
    settings: TrainingSettings,
    seeds: Sequence[int] | None = None,
    start_epoch: int = 0,
    end_epoch: int = EPOCHS,
    checkpoints: Sequence[bytes] | None = None,
) -> list[TrainingOutcome]:
    """Train members as a cohort."""
    chosen = range(FIRST_SEED, FIRST_SEED + len(values)) if seeds is None else seeds
    given = [None] * len(values) if checkpoints is None else checkpoints
    members = [
        CohortMember(settings=own, seed=seed, checkpoint=checkpoint)
        for own, seed, checkpoint in zip(values, chosen, given, strict=True)
    ]
    return train_cohort(family, members, data, settings=settings, start_epoch=start_epoch, end_epoch=end_epoch)


def members_of(family: str, shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give three members of a shape, without dropout."""
    return [{**SMALL[family], **NO_DROPOUT[family], **shape, **own} for own in THREE]


def assert_same(alone: TrainingOutcome, fused: TrainingOutcome, *, tolerance: float = 1e-8) -> None:
    """Compare state, measurements and the whole checkpoint, of which the weights are a part."""
    assert (fused.state, fused.best_epoch) == (alone.state, alone.best_epoch)
    assert_close(alone.measurements, fused.measurements, "measurements", tolerance=tolerance)
    assert_close(
        read_checkpoint(alone.checkpoint), read_checkpoint(fused.checkpoint), "checkpoint", tolerance=tolerance
    )


# What a batch norm further on takes away has the gradient 0: all it holds is rounding, as large as Adam makes it.
_ROUNDING = 1e-9


def assert_close(expected: Any, actual: Any, path: str, *, tolerance: float) -> None:
    """Compare what a checkpoint holds: the same keys, types and shapes, and numbers that are relatively close."""
    assert type(actual) is type(expected), path
    if isinstance(expected, Mapping):
        assert list(actual) == list(expected), path
        for key, value in expected.items():
            assert_close(value, actual[key], f"{path}/{key}", tolerance=tolerance)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), path
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            assert_close(left, right, f"{path}/{index}", tolerance=tolerance)
    elif isinstance(expected, Tensor):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), path
        left, right = expected.double(), actual.double()
        size = float(left.abs().max()) if left.numel() else 0.0
        if max(size, float(right.abs().max()) if right.numel() else 0.0) > _ROUNDING:
            assert float((left - right).abs().max()) <= tolerance * size, (path, left, right)
    elif isinstance(expected, float):
        difference = abs(actual - expected)
        assert actual == expected or difference <= tolerance * max(abs(expected), 1e-3), (path, expected, actual)
    else:
        assert actual == expected, path


class AloneNoise(Noise):
    """Draws for each member what torch's own dropout layers draw in training alone, in the same order.

    With it, dropout can be compared mask by mask.
    """

    def start_epoch(self, epoch: int) -> None:
        """See `Noise.start_epoch`."""
        super().start_epoch(epoch)
        self._torch = [torch.Generator().manual_seed(epoch_seed(seed, epoch)) for seed in self._seeds]

    def masks(self, like: Tensor, rates: Sequence[float], *, own_steps: bool) -> Tensor:
        """See `Noise.masks`."""
        out = torch.ones(like.shape, dtype=like.dtype)
        for member, (rate, generator) in enumerate(zip(rates, self._torch, strict=True)):
            if rate:
                out[member].bernoulli_(1.0 - rate, generator=generator).div_(1.0 - rate)
        return out
