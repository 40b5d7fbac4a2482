"""A slot from inside: the function that a Tune trial runs on a worker of the cluster."""

from __future__ import annotations

import importlib
import pickle
import sys
import time
import traceback
from typing import Any

import ray
from ray import cloudpickle, tune

from service.engine.base import LegFunction
from service.engine.desk import Assignment, Outcome
from service.engine.local import execute_leg
from service.importing import collector_paused
from service.legs import Leg, LegResult

REPORT_PERIOD_S = 1.0  # a report waits for Tune's loop, which is a few ms: at most one in this time


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
        sys.path.extend(path for path in welcome.import_path if path not in sys.path)
        with collector_paused():
            function = _load(welcome.function)
        reference = ray.get(desk.context.remote())  # the driver may still be reading the data
        if reference is None:
            return
        context = ray.get(reference[0])
    except Exception:
        reason = f"slot {slot} could not load the leg function and its context:\n{traceback.format_exc()}"
        ray.get(desk.end.remote(reason))
        return
    num_legs = 0
    last_report = time.monotonic()
    answer = desk.exchange.remote(slot, life, None)
    while (assignment := ray.get(answer)) is not None:
        outcome = _work(function, context, assignment, slot)
        answer = desk.exchange.remote(slot, life, outcome)
        num_legs += 1
        if time.monotonic() - last_report > REPORT_PERIOD_S:
            tune.report({"num_legs": num_legs})
            last_report = time.monotonic()


def _load(function: bytes | str) -> LegFunction:
    if isinstance(function, bytes):
        loaded: LegFunction = cloudpickle.loads(function)
    else:
        module, _, name = function.partition(":")
        loaded = getattr(importlib.import_module(module), name)
    return loaded


def _work(function: LegFunction, context: Any, assignment: Assignment, slot: int) -> Outcome:
    parcel = assignment.parcel
    try:
        leg = unpack_leg(parcel.body)
        result = execute_leg(function, context, leg, slot=slot, attempt=assignment.attempt)
        return Outcome("result", parcel.key, pickle.dumps(result, protocol=5))
    except (Exception, SystemExit):
        return Outcome("raised", parcel.key, traceback.format_exc())


def unpack_leg(body: Any) -> Leg:
    """Turn a parcel's body into the leg: pickled bytes, or a tuple with a reference to the leg."""
    leg: Leg = pickle.loads(body) if isinstance(body, bytes) else ray.get(body[0])
    return leg


def unpack_result(body: bytes) -> LegResult:
    """Turn an outcome's body into the result."""
    result: LegResult = pickle.loads(body)
    return result
