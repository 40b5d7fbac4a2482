"""What an engine promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from service.legs import Leg, LegResult

LegFunction = Callable[[Any, Leg], LegResult]  # (context, leg): the pure function that engines call


class Engine(ABC):
    """Runs legs. One contract suite holds for every implementation.

    An engine is made for one job: the context is whatever the leg function needs beside the leg (data, fixed
    settings) and reaches each worker once. Engines are context managers; leaving one ends everything it
    started, also after an exception or Ctrl-C.

    Promises:
        - `run` yields exactly one result for each leg, in any order; legs that are independent run at the
          same time, as far as there are slots, and begin in the order in which they were given.
        - `add` takes further legs until the last result has been taken.
        - Results depend on context and leg alone.
        - A leg whose worker is lost is run again, up to `max_attempts` times; after that its members are
          `failed` with a message that says so, and the engine goes on.
        - An exception of the leg function itself is a bug, not a trial's failure: it is raised from `run`.
        - Abandoning the iterator of `run` is allowed: what is under way is dropped.
    """

    num_slots: int

    @abstractmethod
    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        """Run the legs and yield their results as they come."""

    @abstractmethod
    def add(self, legs: Sequence[Leg]) -> None:
        """Add legs to the run under way, whose iterator yields their results too.

        Raises:
            RuntimeError: No run is under way.
            ValueError: A leg has the key of another one that is open.
        """

    @abstractmethod
    def close(self) -> None:
        """End everything that the engine started. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
