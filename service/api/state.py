"""What every request of an application shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.dry_runs import DryRuns
from service.api.limits import RateLimits
from service.api.metrics import Metrics
from service.api.threads import Threads
from service.api.watchers import Watchers
from service.settings import Settings
from service.store import Store


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
