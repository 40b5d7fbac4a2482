"""What a slot does with a leg, in its own process or in a fork: without Ray, which a fork has not."""

from __future__ import annotations

import importlib
import pickle
import traceback
from typing import Any

from service.engine.base import LegFunction
from service.engine.desk import Outcome
from service.engine.local import execute_leg
from service.legs import Leg, LegResult


def load_function(function: bytes | str) -> LegFunction:
    """Load a leg function that was pickled, or that is named as `module:name`."""
    if isinstance(function, bytes):
        loaded: LegFunction = pickle.loads(function)
    else:
        module, _, name = function.partition(":")
        loaded = getattr(importlib.import_module(module), name)
    return loaded


def leg_outcome(function: LegFunction, context: Any, leg: Leg, slot: int, attempt: int) -> Outcome:
    """Call the leg function; what it raises is an outcome, too."""
    try:
        result = execute_leg(function, context, leg, slot=slot, attempt=attempt)
        return Outcome("result", leg.key, pickle.dumps(result, protocol=5))
    except (Exception, SystemExit):
        return Outcome("raised", leg.key, traceback.format_exc())


def unpack_result(body: bytes) -> LegResult:
    """Turn an outcome's body into the result."""
    result: LegResult = pickle.loads(body)
    return result
