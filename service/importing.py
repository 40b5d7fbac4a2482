"""Imports of seconds, made shorter, and safe beside each other."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def settle_finders() -> None:
    """Import what changes how Python finds packages, before threads import side by side.

    importlib_metadata, which MLflow imports, puts its finder among Python's own before its module is whole. Who
    asks for a package's version at that moment in another thread, as Lightning's import does, gets a NameError.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("importlib_metadata")


@contextmanager
def collector_paused() -> Iterator[Callable[[], None]]:
    """Import big libraries without the garbage collector.

    Modules, functions and classes stay until the end, and the collector would walk them again and again while they
    are made: a fifth of the time that torch, Lightning and Ray take. What is there at the end is left out of later
    collections too, so this is for processes of our own: a slot, a command.

    Yields:
        A function that ends the pause before the block ends.

    Source:
        https://docs.python.org/3/library/gc.html#gc.freeze
    """
    paused = gc.isenabled()
    gc.disable()

    def resume() -> None:
        nonlocal paused
        if paused:
            paused = False
            gc.freeze()
            gc.enable()

    try:
        yield resume
    finally:
        resume()
