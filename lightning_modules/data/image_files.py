"""Image files as arrays of bytes; the only door to Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lightning_modules.data.preprocessor import Array
from lightning_modules.errors import DataError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_MODES: dict[int, str] = {1: "L", 3: "RGB"}


def read_image(path: Path, *, channels: int, size: tuple[int, int] | None, field: str) -> Array:
    """Read one image, turned upright as its camera says.

    Args:
        path: The file; of an animation the first picture counts.
        channels: 1 for grey, 3 for colours; nothing else.
        size: Height and width to resize to, each side by its own factor; None keeps the image's own.
        field: The field that an error names.

    Returns:
        (C, H, W) uint8.

    Raises:
        DataError: The file is no image, is broken, or has more than 8 bits a channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # Pillow would cut 16 bits off at 255
                raise DataError(
                    f"an image has 8 bits a channel, {path} is of mode {image.mode!r}: save it with 8 bits",
                    field=field,
                )
            upright = ImageOps.exif_transpose(image).convert(_MODES[channels])
            if size is not None and size != (upright.height, upright.width):
                # Pillow's filters cover all pixels of a reduced image, so that fine patterns do not alias.
                upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(upright, dtype=np.uint8)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "it is of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(
            f"the file must be an image, {path}: {reason}: get it again, or remove it", field=field
        ) from error
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
