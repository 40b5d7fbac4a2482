"""Images: from raw pixels to standardized channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lightning_modules.data.base import Kind
from lightning_modules.data.on_disk import chunks
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessor(Preprocessor):
    """Divides by the largest raw value, then standardizes each channel.

    Attributes:
        shape: (C, H, W) of one image.
        scale: Largest raw value; raw pixels lie in 0..scale, whatever their type.
        mean: Per channel, of the scaled training images.
        std: Per channel; 1 where a channel is constant.
    """

    kind: ClassVar[Kind] = "image"
    shape: tuple[int, int, int]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, images: Array, *, scale: float) -> Self:
        """Measure the training images, (N, H, W) or (N, C, H, W), raw; in pieces, so that copies stay small."""
        pixels_NCHW = _with_channels(images)
        num_channels = pixels_NCHW.shape[1]
        total, total_of_squares = np.zeros(num_channels), np.zeros(num_channels)
        for rows in chunks(len(pixels_NCHW), pixels_NCHW.shape[1:]):
            # Raw integers sum without an error in float64.
            chunk = pixels_NCHW[rows].astype(np.float64)
            total += chunk.sum(axis=(0, 2, 3))
            total_of_squares += np.square(chunk).sum(axis=(0, 2, 3))
        count = pixels_NCHW.size // num_channels
        mean = total / count
        std = np.sqrt(np.maximum(total_of_squares / count - mean**2, 0.0))
        std[std < 1e-6 * scale] = scale  # a constant channel becomes 0, not noise
        return cls(
            shape=_shape(pixels_NCHW),
            scale=float(scale),
            mean=tuple(float(value) for value in mean / scale),
            std=tuple(float(value) for value in std / scale),
        )

    def transform(self, raw: Any) -> dict[str, Array]:
        """Standardize images.

        Args:
            raw: (N, H, W) for one channel, or (N, C, H, W); values in 0..scale, integers or floats. Or a list of
                paths of image files with 8 bits a channel, which are resized to the training shape.

        Returns:
            `image`: (N, C, H, W) float32.

        Raises:
            DataError: Images of several sizes, of another size than in training, or values outside 0..scale; a
                file that is no image.
        """
        pixels_NCHW = _with_channels(self._read_files(raw) if _are_paths(raw) else _as_array(raw))
        if _shape(pixels_NCHW) != self.shape:
            raise DataError(
                f"images must have the training shape (C, H, W) = {self.shape}, got {_shape(pixels_NCHW)}: "
                "resize them",
                field="image",
            )
        if pixels_NCHW.size:
            low, high = float(pixels_NCHW.min()), float(pixels_NCHW.max())
            if not (low >= 0 and high <= self.scale):
                raise DataError(
                    f"pixels must lie in 0..{self.scale:g} as in training, got {low:g}..{high:g}: "
                    "give raw pixels, not standardized ones",
                    field="image",
                )
        # (x / scale - mean) / std as one product and one sum, in float32: images are the largest arrays.
        gain = np.asarray([1 / (self.scale * std) for std in self.std], dtype=np.float32)
        shift = np.asarray([mean / std for mean, std in zip(self.mean, self.std, strict=True)], np.float32)
        image = pixels_NCHW.astype(np.float32)
        image *= gain[:, None, None]
        image -= shift[:, None, None]
        return {"image": image}

    def _read_files(self, paths: Sequence[str | Path]) -> Array:
        channels, height, width = self.shape
        if self.scale != 255 or channels not in (1, 3):
            raise DataError(
                f"image files have 1 or 3 channels and pixels in 0..255, training had {channels} and "
                f"0..{self.scale:g}: give arrays",
                field="image",
            )
        from lightning_modules.data.image_files import read_image

        size = (height, width)
        return np.stack([read_image(Path(path), channels=channels, size=size, field="image") for path in paths])

    def sizes(self) -> dict[str, Any]:
        """Give `image_shape`."""
        return {"image_shape": self.shape}

    def to_dict(self) -> dict[str, Any]:
        """Give kind, shape, scale, mean and std."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict()`."""
        channels, height, width = document["shape"]
        return cls(
            shape=(channels, height, width),
            scale=document["scale"],
            mean=tuple(document["mean"]),
            std=tuple(document["std"]),
        )


def _are_paths(raw: Any) -> bool:
    return isinstance(raw, list | tuple) and bool(raw) and all(isinstance(path, str | Path) for path in raw)


def _as_array(raw: Any) -> Array:
    try:
        return np.asarray(raw)
    except ValueError as error:  # numpy refuses ragged lists
        shapes = sorted({np.shape(image) for image in raw})
        raise DataError(
            f"images of one set must have one shape, got {', '.join(map(str, shapes[:5]))}: resize them",
            field="image",
        ) from error


def _with_channels(images: Array) -> Array:
    if images.ndim not in (3, 4) or images.dtype.kind not in "uif" or 0 in images.shape[1:]:
        raise DataError(
            f"images are numbers of shape (N, H, W) or (N, C, H, W), got {images.dtype} of shape {images.shape}: "
            "for a single image add a first axis",
            field="image",
        )
    return images[:, None] if images.ndim == 3 else images


def _shape(pixels_NCHW: Array) -> tuple[int, int, int]:
    _, channels, height, width = pixels_NCHW.shape
    return channels, height, width
