"""Data sets live in memory: whether one fits is told before it is made."""

from __future__ import annotations

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
    num_bytes = 4
    for size in shape:
        num_bytes *= size
    if num_bytes > limit_gib * _GIB:
        sizes = " x ".join(f"{size:,}" for size in shape[1:])
        raise DataError(
            f"a data set must fit in memory, {shape[0]:,} {what} of {sizes} values are {num_bytes / _GIB:.3g} GiB "
            f"as 32-bit floats and the limit is {limit_gib:g} GiB: {remedy}, or raise memory_limit_gib",
            field="memory_limit_gib",
        )
