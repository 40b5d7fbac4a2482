"""A store that is asked again while its database is away: a leg of an hour is not lost to a restart of it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from service.errors import StoreUnavailableError
from service.store import Store

MAX_PAUSE_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")


def patient(store: Store) -> Store:
    """Give the store back with methods that wait for the database, without end: who runs this process may end it.

    What was written just before the connection broke may be written again. The store takes a leg, a round or a
    plan that is on record for the same; it refuses the rest, and the job's next attempt goes on behind it.
    """
    return cast(Store, _Patient(store))


def keep_trying(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of the store until its database answers."""
    retrying = Retrying(
        retry=retry_if_exception_type(StoreUnavailableError),
        wait=wait_exponential(multiplier=0.1, max=MAX_PAUSE_S) + wait_random(0, 0.2),
        before_sleep=_say_that_it_waits,
    )
    return retrying(function, *args, **kwargs)


class _Patient:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return functools.partial(keep_trying, found) if callable(found) else found


def _say_that_it_waits(state: RetryCallState) -> None:
    error = state.outcome and state.outcome.exception()
    sys.stderr.write(f"waiting for the store: {error}\n")
