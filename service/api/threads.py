"""What blocks runs beside the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

# Fewer than the store has connections (15), so that no thread waits for one. The work is mostly waiting for the
# database; more threads would only wait for each other.
NUM_THREADS = 12

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs what blocks, such as questions to the store, beside the event loop."""

    def __init__(self, num: int = NUM_THREADS) -> None:
        self._num = num
        self._limiter: CapacityLimiter | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread and wait for its answer."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._num)  # belongs to the event loop that is running
        return await to_thread.run_sync(lambda: function(*args, **kwargs), limiter=self._limiter)
