"""What belongs to the whole process while a trial trains in it, and is given back as it was found."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lightning_modules.seeding import seeded

_DATA_SEED = 0  # a data module's own setup may split at random: the same way in every trial, or none compares
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_HARMLESS_WARNINGS = (
    r"The '\w+' does not have many workers",  # a slot has the CPUs that its spec gives it
    r"GPU available but not used",
    r".* does not have a deterministic implementation",  # taken where there is one
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own code, on torch 2.13
)


@contextmanager
def quiet_process(*, num_threads: int, cuda: bool) -> Iterator[None]:
    """Set what training needs set in the whole process, and set it back.

    Global generators (seeded for the data module's setup), torch's threads, deterministic kernels on a GPU,
    Lightning's info messages and its warnings about what is meant here.

    Args:
        num_threads: torch's.
        cuda: Whether the block works on a CUDA device.
    """
    with ExitStack() as stack:
        stack.enter_context(seeded(_DATA_SEED, cuda=cuda))
        stack.enter_context(torch_threads(num_threads))
        stack.enter_context(_quiet_lightning())
        if cuda:
            stack.enter_context(_deterministic_kernels())
        yield


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Compute on so many threads: sums, and the factorizations that make weights, depend on it in the last digit.

    Args:
        num_threads: torch's.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _HARMLESS_WARNINGS:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.WARNING))
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    """Choose deterministic CUDA kernels where there are any.

    Source:
        https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    cudnn = torch.backends.cudnn
    deterministic: Any = torch.utils.deterministic  # a module with a property, which mypy does not see
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        cudnn.benchmark,
        cudnn.deterministic,
    )
    cublas = os.environ.get(_CUBLAS)
    os.environ[_CUBLAS] = cublas or ":4096:8"  # read when a process first calls cuBLAS
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = before[2]
        cudnn.benchmark, cudnn.deterministic = before[3:]
        if cublas is None:
            os.environ.pop(_CUBLAS, None)


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning turns it into an exit, and keep the process interruptible."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from then on, unless a fit was under way
        raise error.__context__ from None
