"""What `LocalEngine` promises beyond the contract."""

from __future__ import annotations

import legs
import pytest
from legs import make_leg

from service.engine.local import LocalEngine
from service.legs import Leg, LegResult


def test_each_result_is_there_before_the_next_leg_begins() -> None:
    begun: list[str] = []

    def record(context: object, leg: Leg) -> LegResult:
        begun.append(leg.key)
        return legs.walk(context, leg)

    results = LocalEngine(legs.CONTEXT, record).run([make_leg("a", "walk"), make_leg("b", "walk")])
    assert next(results).key == "a"
    assert begun == ["a"]


def test_the_exception_of_the_leg_function_is_the_cause_of_the_error() -> None:
    with pytest.raises(RuntimeError, match="raised in leg bad") as caught:
        list(LocalEngine(legs.CONTEXT, legs.act).run([make_leg("bad", "stumble")]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
