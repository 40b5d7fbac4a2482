"""Augmented images against references made by hand."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.augmentation.images import IMAGE_AUGMENTATIONS, ImageAugmentation

MEAN, STD = (0.3, 0.5, 0.2), (0.2, 0.25, 0.5)
TARGET = torch.zeros(64, dtype=torch.int64)


def pixels(rows: int = 64, channels: int = 3, side: int = 8) -> Tensor:
    return torch.rand(rows, channels, side, side, generator=torch.Generator().manual_seed(0))


def column(values: tuple[float, ...], channels: int) -> Tensor:
    return torch.tensor(values[:channels])[:, None, None]


def augment(raw: Tensor, *, seed: int = 0, **settings: Any) -> Tensor:
    """Standardize pixels, augment them, and turn them into pixels again."""
    channels = raw.shape[1]
    mean, std = column(MEAN, channels), column(STD, channels)
    shape = (channels, raw.shape[2], raw.shape[3])
    made = ImageAugmentation(settings, shape=shape, mean=MEAN[:channels], std=STD[:channels])
    torch.manual_seed(seed)
    inputs, target = made({"image": (raw - mean) / std}, TARGET)
    assert target is TARGET
    return inputs["image"] * std + mean


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_flip_of_every_image_is_torchs_flip_bit_for_bit(name: str, axis: int) -> None:
    image = torch.randn(5, 3, 6, 8)
    made = ImageAugmentation({name: 1.0}, shape=(3, 6, 8), mean=MEAN, std=STD)
    assert torch.equal(made({"image": image}, TARGET)[0]["image"], image.flip(axis))


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_flip_of_half_the_images_leaves_the_others_as_they_were(name: str, axis: int) -> None:
    raw = pixels(rows=400)
    flipped = augment(raw, **{name: 0.5})
    is_flipped = torch.isclose(flipped, raw.flip(axis), atol=1e-6).flatten(1).all(dim=1)
    is_same = torch.isclose(flipped, raw, atol=1e-6).flatten(1).all(dim=1)
    assert torch.equal(is_same, ~is_flipped)
    assert 150 < int(is_flipped.sum()) < 250


def test_a_crop_is_a_window_of_the_image_with_black_around_it() -> None:
    raw = pixels()
    cropped = augment(raw, crop_padding=2)
    padded = F.pad(raw, (2, 2, 2, 2))
    seen = set()
    for before, after in zip(padded, cropped, strict=True):
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.allclose(after, before[:, y : y + 8, x : x + 8], atol=1e-6)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 15


def test_a_rotation_is_scipys_by_an_angle_of_its_own_for_each_image() -> None:
    rotation = IMAGE_AUGMENTATIONS["rotation"].factory(30, (1, 15, 15))
    raw = F.avg_pool2d(pixels(rows=32, channels=1, side=17), 3, 1)
    torch.manual_seed(0)
    rotated = rotation(raw)
    angles: Any = rotation._params["degrees"]  # type: ignore[attr-defined]
    assert float(angles.abs().max()) <= 30
    assert len(set(angles.tolist())) == 32
    for before, after, angle in zip(raw, rotated, angles, strict=True):
        # scipy turns an array's first axis towards its second one: a picture against the clock, as kornia does.
        expected = ndimage.rotate(before[0].numpy(), float(angle), reshape=False, order=1)
        inner = slice(4, 11)  # at the border the two differ in what they blend with black
        np.testing.assert_allclose(after[0][inner, inner], expected[inner, inner], atol=1e-4)


def test_what_a_rotation_uncovers_is_black() -> None:
    """In the standardized image black is not zero."""
    rotated = augment(torch.full((64, 3, 9, 9), 0.8), rotation=45)
    corner = rotated[:, :, 0, 0]
    turned = corner.amax(dim=1) < 1e-6
    assert int(turned.sum()) > 30
    torch.testing.assert_close(rotated[:, :, 4, 4], torch.full((64, 3), 0.8))


def change_colours(image: Any, name: str, factor: float) -> Any:
    """Change (3, H, W) pixels by the textbook; what leaves 0..1 is cut off."""
    grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    if name == "brightness":
        image = image * factor
    elif name == "contrast":
        image = factor * image + (1 - factor) * grey.mean()
    elif name == "saturation":
        image = factor * image + (1 - factor) * grey
    else:
        image = image.copy()
        for y, x in np.ndindex(image.shape[1:]):
            h, s, v = colorsys.rgb_to_hsv(*image[:, y, x])
            image[:, y, x] = colorsys.hsv_to_rgb((h + factor) % 1.0, s, v)
    return image.clip(0.0, 1.0)


def test_colours_change_as_the_textbook_says() -> None:
    jitter: Any = IMAGE_AUGMENTATIONS["colour_jitter"].factory(0.4, (3, 4, 4))
    raw = pixels(rows=16, side=4)
    torch.manual_seed(0)
    jittered = jitter(raw)
    drawn = jitter._params
    for key, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
    ):
        factors = drawn[f"{key}_factor"]
        assert low <= float(factors.min()) < float(factors.max()) <= high
    names = ("brightness", "contrast", "saturation", "hue")
    for row, image in enumerate(raw.numpy().astype(np.float64)):
        expected = image
        for index in drawn["order"].tolist():
            name = names[index]
            factor = float(drawn[f"{name}_factor"][row])
            expected = change_colours(expected, name, factor)
        np.testing.assert_allclose(jittered[row], expected, atol=1e-4)


def test_colour_jitter_gets_pixels_whatever_they_were_standardized_by() -> None:
    """Standardized values would be cut off at 0 and 1."""
    jittered = augment(pixels(), colour_jitter=0.4)
    assert float(jittered.min()) > -1e-5
    assert float(jittered.max()) < 1 + 1e-5
    assert float(jittered.std()) > 0.15


@pytest.mark.parametrize("share", [0.25, 0.0625])
def test_cutout_sets_one_square_to_the_training_mean(share: float) -> None:
    image = torch.rand(64, 3, 16, 16) + 1.0
    made = ImageAugmentation({"cutout": share}, shape=(3, 16, 16), mean=MEAN, std=STD)
    cut = made({"image": image}, TARGET)[0]["image"]
    side = round(16 * math.sqrt(share))
    corners = set()
    for before, after in zip(image, cut, strict=True):
        hidden = after == 0
        assert torch.equal(after[~hidden], before[~hidden])
        rows, columns = hidden[0].any(dim=1).nonzero(), hidden[0].any(dim=0).nonzero()
        assert (len(rows), len(columns)) == (side, side)
        assert int(hidden.sum()) == 3 * side * side
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) > 30


def test_several_augmentations_are_applied_in_the_registrys_order() -> None:
    """What is cut out is cut out of the rotated image: its square stays straight."""
    image = torch.rand(32, 1, 16, 16) + 1.0
    made = ImageAugmentation({"cutout": 0.25, "rotation": 20}, shape=(1, 16, 16), mean=[0.0], std=[1.0])
    cut = made({"image": image}, TARGET)[0]["image"]
    assert list(IMAGE_AUGMENTATIONS)[-1] == "cutout"
    for after in cut:
        hidden = (after[0] == 0).float()
        windows = F.avg_pool2d(hidden[None, None], 8, 1)
        assert float(windows.max()) == 1.0
