"""A slot from inside: the function that a Tune trial runs on a worker of the cluster."""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray import cloudpickle, tune

from service.engine.base import LegFunction
from service.engine.desk import Assignment, Forks, Outcome, Welcome
from service.engine.execution import leg_outcome, load_function
from service.engine.fork_server import Fork
from service.importing import collector_paused
from service.legs import Leg

REPORT_PERIOD_S = 1.0  # a report waits for Tune's loop, which is a few ms: at most one in this time
LOST = 71  # exit code of a slot whose fork has ended in a leg


TrainLeg = Callable[[Assignment], Outcome]


def serve(desk: Any, slot: int) -> None:
    """Train one leg after another until the desk closes.

    Args:
        desk: Handle of the desk actor.
        slot: Number of this slot.
    """
    try:
        # Pickled here, or the desk would import what this worker's class needs: Tune, half a second.
        handle: bytes = cloudpickle.dumps(ray.get_runtime_context().current_actor)  # type: ignore[no-untyped-call]
        life, welcome = ray.get(desk.join.remote(slot, handle))
        train_leg = _get_ready(desk, slot, welcome)
        if train_leg is None:
            return
    except Exception:
        reason = f"slot {slot} could not load the leg function and its context:\n{traceback.format_exc()}"
        ray.get(desk.end.remote(reason))
        return
    num_legs = 0
    last_report = time.monotonic()
    answer = desk.exchange.remote(slot, life, None)
    while (assignment := ray.get(answer)) is not None:
        outcome = train_leg(assignment)
        answer = desk.exchange.remote(slot, life, outcome)
        num_legs += 1
        if time.monotonic() - last_report > REPORT_PERIOD_S:
            tune.report({"num_legs": num_legs})
            last_report = time.monotonic()


def _get_ready(desk: Any, slot: int, welcome: Welcome) -> TrainLeg | None:
    """Import the leg function and take the context, or get a fork that has both; None: there is nothing to do."""
    function = None if welcome.is_forked else _load(welcome)
    given = ray.get(desk.context.remote())  # the driver may still be reading the data
    if given is None:
        return None
    if isinstance(given, Forks):
        return partial(_delegate, Fork(given.address), slot)
    return partial(_work, function or _load(welcome), ray.get(given[0]), slot)


def _load(welcome: Welcome) -> LegFunction:
    sys.path.extend(path for path in welcome.import_path if path not in sys.path)
    with collector_paused():
        return load_function(welcome.function)


def _work(function: LegFunction, context: Any, slot: int, assignment: Assignment) -> Outcome:
    try:
        leg = unpack_leg(assignment.parcel.body)
    except Exception:
        return Outcome("raised", assignment.parcel.key, traceback.format_exc())
    return leg_outcome(function, context, leg, slot, assignment.attempt)


def _delegate(fork: Fork, slot: int, assignment: Assignment) -> Outcome:
    """Have the fork train a leg; a leg that ends the fork ends this process, as if it had been trained here."""
    try:
        outcome: Outcome = fork(leg_outcome, unpack_leg(assignment.parcel.body), slot, assignment.attempt)
    except (EOFError, OSError):
        os._exit(LOST)
    return outcome


def unpack_leg(body: Any) -> Leg:
    """Turn a parcel's body into the leg: pickled bytes, or a tuple with a reference to the leg."""
    leg: Leg = pickle.loads(body) if isinstance(body, bytes) else ray.get(body[0])
    return leg
