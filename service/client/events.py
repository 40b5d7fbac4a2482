"""What happens to a job, as typed events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.client.models import Model


class Event(Model):
    """Something that happened to a job; also what a newer server tells under a kind of its own."""

    number: int  # from 0 in its job, without gaps
    at: datetime
    kind: str
    data: Mapping[str, Any]


class JobEvent(Event):
    """The job moved to a state, or got another priority."""

    state: str
    message: str | None = None
    priority: int = 0


class PlanEvent(Event):
    """The plan is on record."""


class RoundEvent(Event):
    """A stage asked for a round of trials."""


class LegMember(Model):
    """Where a trial stands after a leg."""

    trial: int
    state: str
    epochs: int
    value: float | None = None  # of the objective, after its last epoch


class LegEvent(Event):
    """A leg is on record."""

    key: str
    members: tuple[LegMember, ...]


class StageEvent(Event):
    """A stage has ended."""


class ExportEvent(Event):
    """A bundle was asked for, or written, or could not be."""


_KINDS: Mapping[str, type[Event]] = {
    "job": JobEvent,
    "plan": PlanEvent,
    "round": RoundEvent,
    "leg": LegEvent,
    "stage": StageEvent,
    "export": ExportEvent,
}


def parse_event(body: Mapping[str, Any]) -> Event:
    """Make the event of the class that its kind stands for."""
    kind = _KINDS.get(str(body.get("kind")), Event)
    return kind.model_validate({**body.get("data", {}), **body})
