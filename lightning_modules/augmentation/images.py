"""Augmentations of images by name, done by kornia.

A factory takes the setting's value and (C, H, W), and makes a callable (B, C, H, W) -> (B, C, H, W). kornia is
imported when one is made. What it draws comes from torch's global generator on the CPU, also for images on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.registry import Entry, Registry

ImageTransform = Callable[[Tensor], Tensor]
Shape = tuple[int, int, int]

_HUE_SHARE = 0.25  # of the jitter's strength: 0.8, 0.8, 0.8 and 0.2 at strength 0.8


def _kornia(name: str, **options: Any) -> ImageTransform:
    from kornia import augmentation  # not above: trials without augmentation need not wait for its import

    transform: ImageTransform = getattr(augmentation, name)(**options)
    return transform


def _rotation(degrees: float, shape: Shape) -> ImageTransform:
    return _kornia("RandomRotation", degrees=float(degrees), p=1.0)


def _crop(padding: int, shape: Shape) -> ImageTransform:
    # By slices: a warp would blur where nothing is to be interpolated.
    return _kornia("RandomCrop", size=shape[1:], padding=padding, p=1.0, cropping_mode="slice")


def _colour_jitter(strength: float, shape: Shape) -> ImageTransform:
    return _kornia(
        "ColorJitter",
        brightness=strength,
        contrast=strength,
        saturation=strength,
        hue=_HUE_SHARE * strength,
        p=1.0,
    )


def _cutout(share: float, shape: Shape) -> ImageTransform:
    return _kornia("RandomErasing", scale=(share, share), ratio=(1.0, 1.0), p=1.0)


_SHAPES = "(B, C, H, W) -> (B, C, H, W)"

# In the order in which they are applied: what is cut out last stays cut out.
IMAGE_AUGMENTATIONS: Registry[ImageTransform] = Registry(
    "augmentation",
    [
        Entry(
            name="horizontal_flip",
            factory=lambda share, shape: _kornia("RandomHorizontalFlip", p=share),
            formula="x[:, :, ::-1] for this share of the images",
            range=_SHAPES,
            used_for="scenes and things; wrong for digits and letters",
            source="Krizhevsky et al. 2012, NeurIPS, sec. 4.1",
        ),
        Entry(
            name="vertical_flip",
            factory=lambda share, shape: _kornia("RandomVerticalFlip", p=share),
            formula="x[:, ::-1, :] for this share of the images",
            range=_SHAPES,
            used_for="images without an up: cells, tissue, the earth from above",
            source="Cohen & Welling 2016, arXiv:1602.07576 (symmetries of such images)",
        ),
        Entry(
            name="rotation",
            factory=_rotation,
            formula="turned by U(-a, a) degrees around the centre, bilinear, black outside",
            range=_SHAPES,
            used_for="images that were not held straight; small angles for digits",
            source="Simard et al. 2003, ICDAR (affine distortions of digits)",
        ),
        Entry(
            name="crop_padding",
            factory=_crop,
            formula="padded with p black pixels on each side, then cut at random to the size that it had",
            range=_SHAPES,
            used_for="what need not stand in the centre; 4 pixels of 32 are usual",
            source="He et al. 2016, arXiv:1512.03385, sec. 4.2",
        ),
        Entry(
            name="colour_jitter",
            factory=_colour_jitter,
            formula="brightness, contrast, saturation times U(1 - s, 1 + s), hue plus U(-s/4, s/4), in any order",
            range="(B, 3, H, W) -> (B, 3, H, W)",
            used_for="photographs in colour",
            source="Chen et al. 2020, arXiv:2002.05709, app. A",
        ),
        Entry(
            name="cutout",
            factory=_cutout,
            formula="a square of this share of the area set to the training mean",
            range=_SHAPES,
            used_for="things that are known by many of their parts",
            source="DeVries & Taylor 2017, arXiv:1708.04552; Zhong et al. 2020, arXiv:1708.04896",
        ),
    ],
)
_ON_PIXELS = frozenset({"rotation", "crop_padding", "colour_jitter"})  # black and full colour mean something


class ImageAugmentation:
    """Augments standardized images; what needs pixels gets them in 0..1, and they are standardized again.

    Shapes:
        `image` (B, C, H, W) -> the same

    Args:
        settings: Names of `IMAGE_AUGMENTATIONS` and their values.
        shape: (C, H, W).
        mean: Of each channel, as the images were standardized.
        std: Of each channel.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, shape: Shape, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._transforms = [
            (name, entry.factory(settings[name], shape))
            for name, entry in IMAGE_AUGMENTATIONS.items()
            if name in settings
        ]
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Augment one batch."""
        image = inputs["image"]
        for name, transform in self._transforms:
            if name in _ON_PIXELS:
                mean, std = self._mean.to(image), self._std.to(image)
                image = (transform(image * std + mean) - mean) / std
            else:
                image = transform(image)
        return {**inputs, "image": image}, target
