"""Whether a data set fits in memory is told before it is made."""

from __future__ import annotations

import math

from lightning_modules.errors import DataError

_GIB = 2**30
DEFAULT_LIMIT_GIB = 4.0  # half of a small machine; Ray's shared memory is a third of a machine's by default


def check_limit(limit_gib: float) -> None:
    """Check a limit itself.

    Raises:
        DataError: It is not above 0.
    """
    if not limit_gib > 0:
        raise DataError(f"memory_limit_gib > 0 must hold, got {limit_gib}: raise it", field="memory_limit_gib")


def fits(shape: tuple[int, ...], *, limit_gib: float) -> bool:
    """Say whether an array of 32-bit floats stays within a limit in GiB."""
    return _num_bytes(shape) <= limit_gib * _GIB


def check_fits(shape: tuple[int, ...], *, limit_gib: float, what: str, remedy: str) -> None:
    """Check that an array of 32-bit floats stays within a limit.

    Args:
        shape: Of the array.
        limit_gib: In GiB.
        what: The things on the first axis, such as images.
        remedy: What a person can do beside raising the limit.

    Raises:
        DataError: It does not fit.
    """
    if not fits(shape, limit_gib=limit_gib):
        gib = _num_bytes(shape) / _GIB
        sizes = " x ".join(f"{size:,}" for size in shape[1:])
        raise DataError(
            f"a data set must fit in memory, {shape[0]:,} {what} of {sizes} values are {gib:.3g} GiB "
            f"as 32-bit floats and the limit is {limit_gib:g} GiB: {remedy}, or raise memory_limit_gib",
            field="memory_limit_gib",
        )


def _num_bytes(shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape)
