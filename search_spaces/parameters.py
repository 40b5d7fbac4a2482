"""What may vary: a range or a list of choices, its scale, its default, and the reason for each.

All values are JSON primitives. A parameter knows its unit interval: `from_unit` and `to_unit` map [0, 1] to
the range on the parameter's own scale, which is what quasi-random designs and distances work on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.errors import SpaceError

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class _Range:
    name: str
    default: Any
    why: str  # why this range, in one sentence
    source: str = ""

    def _fail(self, rule: str, *, key: str = "") -> SpaceError:
        return SpaceError(rule, field=f"{self.name}.{key}" if key else self.name)


def _check_bounds(parameter: Float | Int) -> None:
    low, high = parameter.low, parameter.high
    for key, value in (("low", low), ("high", high), ("default", parameter.default)):
        whole = isinstance(parameter, Int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise parameter._fail(f"must be {kind}, got {value!r}", key=key)
        if not math.isfinite(value):
            raise parameter._fail(f"must be finite, got {value!r}", key=key)
    if not low < high:
        raise parameter._fail(f"low < high must hold, got low={low}, high={high}: swap or widen them")
    if parameter.log and low <= 0:
        raise parameter._fail(
            f"a logarithmic range starts above 0, got low={low}: raise low or set log: false", key="low"
        )
    if not low <= parameter.default <= high:
        raise parameter._fail(
            f"low <= default <= high must hold, got {low} <= {parameter.default} <= {high}", key="default"
        )


@dataclass(frozen=True, kw_only=True)
class Float(_Range):
    """A real number in [low, high]; `log` makes equal ratios equally likely."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self)

    def from_unit(self, unit: float) -> float:
        """Map [0, 1] to the range."""
        if self.log:
            value = math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Value) -> float:
        """Map the range to [0, 1]; values outside are clipped."""
        number = min(max(float(value), self.low), self.high)
        if self.log:
            return (math.log(number) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (number - self.low) / (self.high - self.low)

    def contains(self, value: object) -> bool:
        """Say whether a value lies in the range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def edges(self) -> tuple[Value, ...]:
        """Give the values between which all others lie."""
        return (self.low, self.high)

    def text(self) -> str:
        """Write the range for a table."""
        return f"{self.low:g} .. {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Int(_Range):
    """A whole number in [low, high]; `log` makes equal ratios equally likely."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self)

    def from_unit(self, unit: float) -> int:
        """Map [0, 1] to the range, every whole number with its own share."""
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            value = low + unit * (high - low)
        return min(max(round(value), self.low), self.high)

    def to_unit(self, value: Value) -> float:
        """Map the range to [0, 1]; values outside are clipped."""
        number = min(max(float(value), self.low), self.high)
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
        return (number - low) / (high - low)

    def contains(self, value: object) -> bool:
        """Say whether a value is a whole number in the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def edges(self) -> tuple[Value, ...]:
        """Give the values between which all others lie."""
        return (self.low, self.high)

    def text(self) -> str:
        """Write the range for a table."""
        return f"{self.low} .. {self.high}{' (log)' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Choice(_Range):
    """One of a list of JSON primitives; `ordered` where neighbours in the list are alike (powers of two)."""

    choices: tuple[Value, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise self._fail(
                f"at least 2 choices must be given, got {len(self.choices)}: fix one value under model instead",
                key="choices",
            )
        for value in self.choices:
            if not isinstance(value, bool | int | float | str):
                raise self._fail(f"choices are numbers, texts or booleans, got {value!r}", key="choices")
        if len({(type(value), value) for value in self.choices}) < len(self.choices):
            raise self._fail(f"choices differ from each other, got {list(self.choices)}", key="choices")
        if not self.contains(self.default):
            raise self._fail(
                f"must be one of the choices, got {self.default!r} beside {list(self.choices)}", key="default"
            )

    def from_unit(self, unit: float) -> Value:
        """Map [0, 1] to the choices, each with its own share."""
        return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Value) -> float:
        """Map a choice to the middle of its share."""
        index = next(i for i, choice in enumerate(self.choices) if _same(choice, value))
        return (index + 0.5) / len(self.choices)

    def contains(self, value: object) -> bool:
        """Say whether a value is one of the choices (1 and true differ)."""
        return any(_same(choice, value) for choice in self.choices)

    def edges(self) -> tuple[Value, ...]:
        """Give all choices: between two of them there is nothing."""
        return self.choices

    def text(self) -> str:
        """Write the choices for a table."""
        return ", ".join(str(choice) for choice in self.choices)


def _same(left: object, right: object) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right


Parameter = Float | Int | Choice
_KEYS = {"float": {"low", "high", "log"}, "int": {"low", "high", "log"}, "choice": {"choices", "ordered"}}
_COMMON = {"type", "default", "why", "source"}


def to_dict(parameter: Parameter) -> dict[str, Any]:
    """Describe a parameter as a mapping of JSON primitives."""
    kind = type(parameter).__name__.lower()
    body: dict[str, Any] = {"type": kind, "default": parameter.default}
    if isinstance(parameter, Choice):
        body |= {"choices": list(parameter.choices), "ordered": parameter.ordered}
    else:
        body |= {"low": parameter.low, "high": parameter.high, "log": parameter.log}
    return body | {"why": parameter.why, "source": parameter.source}


def from_dict(name: str, body: Mapping[str, Any], base: Parameter | None = None) -> Parameter:
    """Read a parameter from a mapping, over a base whose fields it may leave out.

    Args:
        name: The parameter's name.
        body: `low`, `high`, `log` for a range, or `choices`; `default`, `why`, `source`; `type` where the
            kind does not follow from the rest. A new range without a default starts in its middle.
        base: The family's own parameter, for an override.

    Raises:
        SpaceError: A rule is broken or a key is unknown.
    """
    kind = _kind_of(name, body, base)
    unknown = sorted(set(body) - _KEYS[kind] - _COMMON)
    if unknown:
        allowed = sorted(_KEYS[kind] | _COMMON)
        raise SpaceError(
            f"unknown key {unknown[0]!r}: a {kind} parameter has {', '.join(allowed)}",
            field=f"{name}.{unknown[0]}",
        )
    if base is not None and type(base).__name__.lower() == kind:
        return _override(base, body)
    why, source = str(body.get("why", "given in the spec")), str(body.get("source", ""))
    if kind == "choice":
        choices = _choices(name, body)
        return Choice(
            name=name,
            choices=choices,
            ordered=bool(body.get("ordered", False)),
            default=body.get("default", choices[0] if choices else None),
            why=why,
            source=source,
        )
    for key in ("low", "high"):
        if key not in body:
            raise SpaceError("a range needs low and high: add it", field=f"{name}.{key}")
    make = Int if kind == "int" else Float
    low, high, log = body["low"], body["high"], _flag(name, body)
    probe = make(name=name, low=low, high=high, log=log, default=low, why=why, source=source)
    return replace(probe, default=body.get("default", probe.from_unit(0.5)))


def _kind_of(name: str, body: Mapping[str, Any], base: Parameter | None) -> str:
    if "type" in body:
        if body["type"] not in _KEYS:
            raise SpaceError(f"type is float, int or choice, got {body['type']!r}", field=f"{name}.type")
        return str(body["type"])
    if "choices" in body:
        return "choice"
    bounds = [body[key] for key in ("low", "high") if key in body]
    if base is not None and (not bounds or not isinstance(base, Choice)):
        return type(base).__name__.lower()
    whole = bounds and all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
    return "int" if whole else "float"


def _choices(name: str, body: Mapping[str, Any]) -> tuple[Value, ...]:
    choices = body.get("choices")
    if not isinstance(choices, list | tuple):
        raise SpaceError(f"choices is a list, got {choices!r}", field=f"{name}.choices")
    return tuple(choices)


def _flag(name: str, body: Mapping[str, Any]) -> bool:
    log = body.get("log", False)
    if not isinstance(log, bool):
        raise SpaceError(f"log is true or false, got {log!r}", field=f"{name}.log")
    return log


def _override(base: Parameter, body: Mapping[str, Any]) -> Parameter:
    """Lay a spec's fields over the family's; a default that falls outside is moved to the nearest value."""
    changes: dict[str, Any] = {key: value for key, value in body.items() if key != "type"}
    if isinstance(base, Choice):
        choices = _choices(base.name, body) if "choices" in body else base.choices
        default = body.get("default", base.default if base.default in choices else next(iter(choices), None))
        return replace(base, **(changes | {"choices": choices, "default": default}))
    if "log" in body:
        _flag(base.name, body)
    if "default" not in body:
        low, high = body.get("low", base.low), body.get("high", base.high)
        if all(isinstance(bound, int | float) for bound in (low, high)) and low < high:
            changes["default"] = min(max(base.default, low), high)
    return replace(base, **changes)
