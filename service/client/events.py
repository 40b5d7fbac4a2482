"""What happens to a job, as typed events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.client.models import Model


class Event(Model):
    """Something that happened to a job; every kind has `data` of its own form."""

    number: int  # from 0 in its job, without gaps
    at: datetime
    kind: str


class OtherEvent(Event):
    """An event of a kind that this version does not know."""

    data: Mapping[str, Any]


class JobChange(Model):
    """Where the job stands now."""

    state: str
    message: str | None = None
    priority: int = 0
    wish: str | None = None  # what was asked of it and is not done yet
    worker: str | None = None


class JobEvent(Event):
    """The job moved to a state, was asked for something, or got another priority."""

    data: JobChange


class PlanSummary(Model):
    """What the job is going to do, in short."""

    metric: str
    mode: str


class PlanEvent(Event):
    """The plan is on record."""

    data: PlanSummary


class Round(Model):
    """Candidates that are trained together."""

    number: int
    stage: int
    trials: tuple[int, ...]
    rungs: tuple[int, ...] = ()


class RoundEvent(Event):
    """A stage asked for a round of trials."""

    data: Round


class LegMember(Model):
    """Where a trial stands after a leg."""

    trial: int
    state: str
    epochs: int
    value: float | None = None  # of the objective, after its last epoch


class Leg(Model):
    """A piece of training, from one rung to the next."""

    key: str
    start_epoch: int
    end_epoch: int
    members: tuple[LegMember, ...]


class LegEvent(Event):
    """A leg is on record."""

    data: Leg


class Rung(Model):
    """Who stopped where the trials of a round were compared."""

    stopped: tuple[int, ...]


class RungEvent(Event):
    """Trials stopped at a rung."""

    data: Rung


class StageEnd(Model):
    """How a stage ended."""

    number: int
    name: str
    state: str
    outcome: Mapping[str, Any] | None = None


class StageEvent(Event):
    """A stage has ended."""

    data: StageEnd


class ExportChange(Model):
    """Where an export stands now."""

    id: int
    state: str
    trial: int | None = None
    message: str | None = None


class ExportEvent(Event):
    """A bundle was asked for, or written, or could not be."""

    data: ExportChange


_KINDS: Mapping[str, type[Event]] = {
    "job": JobEvent,
    "plan": PlanEvent,
    "round": RoundEvent,
    "leg": LegEvent,
    "rung": RungEvent,
    "stage": StageEvent,
    "export": ExportEvent,
}


def parse_event(body: Mapping[str, Any]) -> Event:
    """Make the event of the class that its kind stands for."""
    return _KINDS.get(str(body.get("kind")), OtherEvent).model_validate(body)
