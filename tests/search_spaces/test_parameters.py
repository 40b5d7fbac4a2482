"""Parameters: their rules, their scales, their round trip."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Choice, Float, Int, SpaceError
from search_spaces.parameters import from_dict, to_dict

UNIT = st.floats(0, 1)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 10) if log else st.floats(-10, 10))
    high = low + draw(st.floats(1e-3, 100))
    return Float(name="x", low=low, high=high, log=log, default=low, why="drawn")


@st.composite
def ints(draw: st.DrawFn) -> Int:
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -50, 50))
    high = low + draw(st.integers(1, 1000))
    return Int(name="x", low=low, high=high, log=log, default=high, why="drawn")


CHOICE = Choice(name="x", choices=(1, True, "a", 2.5), default="a", why="given")


@given(floats() | ints() | st.just(CHOICE), UNIT)
def test_every_point_of_the_unit_interval_is_a_value_of_the_parameter(parameter, unit) -> None:
    assert parameter.contains(parameter.from_unit(unit))


@given(floats(), UNIT)
def test_a_value_goes_to_the_unit_interval_and_back(parameter: Float, unit: float) -> None:
    value = parameter.from_unit(unit)
    assert math.isclose(parameter.from_unit(parameter.to_unit(value)), value, rel_tol=1e-6, abs_tol=1e-6)


@given(ints())
def test_every_whole_number_goes_to_the_unit_interval_and_back(parameter: Int) -> None:
    for value in range(parameter.low, min(parameter.high, parameter.low + 20) + 1):
        assert parameter.from_unit(parameter.to_unit(value)) == value


def test_a_logarithmic_range_gives_equal_ratios_equal_room() -> None:
    lr = Float(name="lr", low=1e-4, high=1e-2, log=True, default=1e-3, why="given")
    assert lr.from_unit(0.5) == pytest.approx(1e-3)
    assert lr.to_unit(1e-3) == pytest.approx(0.5)


def test_one_and_true_are_different_choices() -> None:
    flag = Choice(name="x", choices=(True, False), default=True, why="given")
    assert flag.contains(True)
    assert not flag.contains(1)


@given(floats() | ints() | st.just(CHOICE))
def test_a_parameter_survives_json(parameter) -> None:
    assert from_dict("x", to_dict(parameter)) == parameter


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"low": 1.0, "high": 1.0}, r"lr: low < high must hold, got low=1.0, high=1.0"),
        ({"low": 0.0}, r"lr.low: a logarithmic range starts above 0, got low=0.0"),
        ({"low": "a"}, r"lr.low: must be a number, got 'a'"),
        ({"low": float("nan")}, r"lr.low: must be finite"),
        ({"default": 5.0}, r"lr.default: low <= default <= high must hold"),
        ({"lo": 5.0}, r"lr.lo: unknown key 'lo'"),
        ({"log": "yes"}, r"lr.log: log is true or false, got 'yes'"),
        ({"choices": []}, r"lr.choices: at least 2 choices must be given, got 0"),
        ({"choices": [1e-3, 1e-3]}, r"lr.choices: choices differ"),
        ({"choices": 3}, r"lr.choices: choices is a list, got 3"),
        ({"type": "enum"}, r"lr.type: type is float, int or choice"),
    ],
)
def test_a_bad_override_names_field_rule_and_value(body, message) -> None:
    base = Float(name="lr", low=1e-4, high=0.1, log=True, default=1e-3, why="given")
    with pytest.raises(SpaceError, match=message):
        from_dict("lr", body, base)


def test_an_override_keeps_what_it_does_not_name_and_moves_the_default_inside() -> None:
    base = Float(name="lr", low=1e-4, high=0.1, log=True, default=1e-3, why="given")
    narrowed = from_dict("lr", {"low": 1e-2}, base)
    assert (narrowed.low, narrowed.high, narrowed.log, narrowed.default) == (1e-2, 0.1, True, 1e-2)


def test_whole_bounds_make_an_int_and_others_a_float() -> None:
    assert isinstance(from_dict("hidden", {"low": 8, "high": 64}), Int)
    assert isinstance(from_dict("rate", {"low": 0, "high": 0.5}), Float)
