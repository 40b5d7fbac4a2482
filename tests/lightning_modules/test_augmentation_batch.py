"""What is augmented, what never is, what it draws from, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toy_networks import SERIES, TABLE, TEXT, batch, images

from lightning_modules.augmentation import (
    IMAGE_AUGMENTATIONS,
    MIXES,
    SERIES_AUGMENTATIONS,
    TEXT_AUGMENTATIONS,
    check_augmentation,
    make_augmentation,
)
from lightning_modules.data import (
    ArrayDataModule,
    BatchLoader,
    BuiltinSource,
    DataInfo,
    Split,
    TrainingData,
    batches,
)
from lightning_modules.errors import ConfigError
from lightning_modules.recipe import Recipe

REGISTRIES = (IMAGE_AUGMENTATIONS, SERIES_AUGMENTATIONS, TEXT_AUGMENTATIONS, MIXES)
NUMBERS = replace(TABLE, cardinalities=())
ON: dict[str, dict[str, Any]] = {
    "image": {"rotation": 10, "crop_padding": 1, "cutout": 0.1, "horizontal_flip": 0.5, "mixup": 0.4},
    "series": {"time_stretch": 0.2, "series_jitter": 0.1, "time_mask": 0.3},
    "text": {"word_swap": 0.3, "word_dropout": 0.3},
    "tabular": {"mixup": 0.4},
}
INFOS = [images(1, 8, 8), SERIES, TEXT, NUMBERS]


def data_of(info: DataInfo, rows: int = 20) -> TrainingData:
    def split(seed: int) -> Split:
        torch.manual_seed(seed)
        inputs, target = batch(info, rows)
        return Split(inputs={name: x.numpy() for name, x in inputs.items()}, target=target.numpy())

    return TrainingData(info=info, train=split(0), validation=split(1))


def loaders(data: TrainingData, *, seed: int = 3, **settings: Any) -> ArrayDataModule:
    augment = make_augmentation(Recipe(**settings), data, seed=seed)
    return ArrayDataModule(data, batch_size=6, seed=seed, augment=augment)


def contents(loader: BatchLoader, epoch: int = 0) -> list[tuple[dict[str, Any], Any]]:
    loader.set_epoch(epoch)
    return [({name: x.tolist() for name, x in inputs.items()}, target.tolist()) for inputs, target in loader]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.kind)
def test_training_batches_are_augmented_and_validation_and_test_batches_never(info: DataInfo) -> None:
    data = data_of(info)
    augmented, plain = loaders(data, **ON[info.kind]), loaders(data)
    assert contents(augmented.train_dataloader()) != contents(plain.train_dataloader())
    ((inputs, target),) = contents(augmented.val_dataloader())
    assert target == data.validation.target.tolist()
    longest = int(data.validation.inputs["lengths"].max()) if "lengths" in inputs else None
    for name, array in data.validation.inputs.items():
        cut = array if name == "lengths" or longest is None else array[:, :longest]
        assert inputs[name] == cut.tolist()
    assert contents(augmented.val_dataloader(), epoch=1) == contents(plain.val_dataloader())
    assert contents(batches(data.validation)) == contents(plain.val_dataloader())


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.kind)
def test_what_is_drawn_follows_from_seed_epoch_and_batch_alone(info: DataInfo) -> None:
    data = data_of(info)
    first = contents(loaders(data, **ON[info.kind]).train_dataloader(), epoch=4)
    again = loaders(data, **ON[info.kind]).train_dataloader()
    contents(again, epoch=0)
    torch.manual_seed(99)
    np.random.seed(99)
    assert contents(again, epoch=4) == first
    augment = make_augmentation(Recipe(**ON[info.kind]), data, seed=3)
    other = make_augmentation(Recipe(**ON[info.kind]), data, seed=4)
    assert augment is not None
    assert other is not None
    inputs, target = batch(info, 20)

    def drawn(call: Any, epoch: int, number: int) -> str:
        augmented, mixed = call(inputs, target, epoch=epoch, batch=number)
        return str([x.tolist() for x in (*augmented.values(), mixed)])

    places = {drawn(augment, epoch, number) for epoch in range(3) for number in range(3)}
    assert len(places | {drawn(other, 0, 0)}) == 10


def test_dropout_draws_what_it_would_draw_without_augmentation() -> None:
    data = data_of(images(1, 8, 8))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    contents(loaders(data, **ON["image"]).train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_never_writes_into_the_set() -> None:
    for info in INFOS:
        data = data_of(info)
        before = {name: array.copy() for name, array in data.train.inputs.items()}
        contents(loaders(data, **ON[info.kind]).train_dataloader())
        assert all(np.array_equal(before[name], array) for name, array in data.train.inputs.items())


def test_images_are_augmented_by_the_scale_that_they_were_standardized_with() -> None:
    """Black of the digits is not zero after standardization."""
    data = BuiltinSource(name="digits", validation_fraction=0.2, test_fraction=0.2, split_seed=0).read_training()
    augment = make_augmentation(Recipe(crop_padding=3), data, seed=0)
    assert augment is not None
    black = -data.preprocessing["mean"][0] / data.preprocessing["std"][0]
    image = torch.full((50, 1, 8, 8), 1.0)
    cropped = augment({"image": image}, torch.zeros(50), epoch=0, batch=0)[0]["image"]
    values = sorted({round(value, 4) for value in cropped.flatten().tolist()})
    assert values == pytest.approx([black, 1.0], abs=1e-3)


def test_without_a_setting_nothing_is_made_and_kornia_is_not_imported() -> None:
    assert make_augmentation(Recipe(), data_of(images(1, 8, 8)), seed=0) is None
    code = (
        "import sys; from lightning_modules.augmentation import *; import service.engine.train; "
        "sys.exit('kornia' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_augmentation_is_a_setting_that_is_off_by_default_and_documented() -> None:
    for registry in REGISTRIES:
        for name, entry in registry.items():
            assert getattr(Recipe(), name) == 0, name
            assert all((entry.formula, entry.range, entry.used_for, entry.source)), name


@pytest.mark.parametrize(
    ("info", "settings", "message"),
    [
        (
            images(1, 8, 8),
            {"colour_jitter": 0.4},
            "colour_jitter: needs images with 3 channels, got 1: set it to 0",
        ),
        (images(3, 8, 8), {"crop_padding": 8}, "crop_padding: must be smaller than a side .* got 8 for 8 pixels"),
        (
            images(1, 8, 8),
            {"word_swap": 0.1},
            "word_swap: augments text data, got image data: .* has horizontal_flip",
        ),
        (TEXT, {"rotation": 5}, r"rotation: augments image data, got text data: .* has word_swap, word_dropout"),
        (NUMBERS, {"time_mask": 0.1}, "time_mask: augments series data, got tabular data: .* has mixup"),
        (TEXT, {"mixup": 0.2}, "mixup: mixes images or numbers, got text data, whose rows have steps"),
        (SERIES, {"mixup": 0.2}, "mixup: mixes images or numbers, got series data"),
        (TABLE, {"mixup": 0.2}, "mixup: mixes numbers, got 2 categorical columns: set it to 0, or drop"),
        (
            replace(NUMBERS, task="regression", num_outputs=1),
            {"mixup": 0.2},
            "mixup: mixes the shares of classes, got regression, whose losses take no shares: set it to 0",
        ),
    ],
)
def test_what_the_data_does_not_allow_is_refused(info: DataInfo, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_augmentation(Recipe(**settings), info)
    with pytest.raises(ConfigError, match=message):
        make_augmentation(Recipe(**settings), data_of(info), seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.kind)
def test_a_gpu_draws_what_a_cpu_draws(info: DataInfo) -> None:
    augment = make_augmentation(Recipe(**ON[info.kind]), data_of(info), seed=0)
    assert augment is not None
    inputs, target = batch(info, 20)
    cpu, cpu_target = augment(inputs, target, epoch=1, batch=2)
    on_gpu = {name: x.cuda() for name, x in inputs.items()}
    cuda, cuda_target = augment(on_gpu, target.cuda(), epoch=1, batch=2)
    assert cuda_target.is_cuda
    torch.testing.assert_close(cuda_target.cpu(), cpu_target)
    for name, x in cpu.items():
        torch.testing.assert_close(cuda[name].cpu(), x, atol=1e-4, rtol=1e-4)
