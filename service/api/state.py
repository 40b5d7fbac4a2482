"""What every request of an application shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from service.api.dry_runs import DryRuns
from service.api.limits import RateLimits
from service.api.metrics import Metrics
from service.api.watchers import Watchers
from service.settings import Settings
from service.store import Store

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


@dataclass(frozen=True, kw_only=True)
class State:
    """The parts of an application."""

    settings: Settings
    store: Store
    threads: Threads
    rates: RateLimits
    watchers: Watchers
    dry_runs: DryRuns
    metrics: Metrics


def get_state(request: Request) -> State:
    """Find the parts of the application that a request came to."""
    state: State = request.app.state.parts
    return state


StateOf = Annotated[State, Depends(get_state)]
