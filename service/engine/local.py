"""Legs in this process, one after another: notebooks, debugging, tests."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from service.engine.base import Engine, LegFunction
from service.legs import Leg, LegResult


def execute_leg(function: LegFunction, context: Any, leg: Leg, *, slot: int, attempt: int) -> LegResult:
    """Call the leg function and stamp its result with who ran it, which attempt it was, and how long it took.

    Raises:
        RuntimeError: The function answered for another leg or for other members.
    """
    started = time.perf_counter()
    result = function(context, leg)
    wall_s = time.perf_counter() - started
    asked = (leg.key, [member.number for member in leg.members])
    answered = (result.key, [member.number for member in result.members])
    if answered != asked:
        raise RuntimeError(
            "a leg's result carries its key and one result for each member in the leg's order: asked for "
            f"{asked}, got {answered}: correct the leg function"
        )
    return replace(result, slot=slot, attempt=attempt, wall_s=wall_s)


def check_keys(legs: Sequence[Leg]) -> None:
    """Raise ValueError unless every leg has a key of its own."""
    keys = [leg.key for leg in legs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the legs of one run have different keys, got {twice} more than once")


class LocalEngine(Engine):
    """Runs legs in this process, in the order they come; nothing is started, nothing has to be ended.

    Args:
        context: First argument of every call of `function`.
        function: The leg function.
    """

    num_slots = 1

    def __init__(self, context: Any, function: LegFunction) -> None:
        self._context = context
        self._function = function
        self._closed = False
        self._queue: deque[Leg] | None = None  # of the run under way

    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        """Run the legs and yield each result before the next leg begins.

        Raises:
            RuntimeError: The engine is closed, or the leg function raised (its exception is the cause).
            ValueError: Two legs have the same key.
        """
        if self._closed:
            raise RuntimeError("a closed engine runs nothing: make a new one")
        check_keys(legs)
        self._queue = deque(legs)
        return self._results(self._queue)

    def add(self, legs: Sequence[Leg]) -> None:
        """Add legs to the run under way.

        Raises:
            RuntimeError: No run is under way.
            ValueError: A leg has the key of another one that is open.
        """
        if self._queue is None or self._closed:
            raise RuntimeError("legs are added to a run under way, there is none: call run()")
        check_keys([*self._queue, *legs])
        self._queue.extend(legs)

    def _results(self, queue: deque[Leg]) -> Iterator[LegResult]:
        try:
            while queue:
                leg = queue.popleft()
                try:
                    result = execute_leg(self._function, self._context, leg, slot=0, attempt=1)
                except Exception as error:
                    raise RuntimeError(f"the leg function raised in leg {leg.key}: {error!r}") from error
                yield result
        finally:
            if self._queue is queue:
                self._queue = None

    def close(self) -> None:
        """Refuse further legs."""
        self._closed = True
