"""Base of every config: frozen, keyword-only, checked field by field, and JSON in and out.

A field carries its rule in its metadata, so that one place checks values and one place documents them:

    width: int = integer(128, low=4, high=4096, unit="features", why="...")
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from lightning_modules.errors import ConfigError
from lightning_modules.registry import unknown_name

if TYPE_CHECKING:
    from lightning_modules.data.base import DataInfo


def number(default: float, *, low: float, high: float, why: str, unit: str = "", above_low: bool = False) -> Any:
    """Declare a real field; `above_low` leaves `low` itself out of the range."""
    rule = {"type": "number", "low": low, "high": high, "above_low": above_low}
    return field(default=default, metadata={**rule, "unit": unit, "why": why})


def integer(default: int, *, low: int, high: int, why: str, unit: str = "", odd: bool = False) -> Any:
    """Declare a whole-number field; `odd` leaves even numbers out."""
    rule = {"type": "integer", "low": low, "high": high, "odd": odd}
    return field(default=default, metadata={**rule, "unit": unit, "why": why})


def choice(default: str, options: Iterable[str], *, why: str) -> Any:
    """Declare a field that is one of some names."""
    return field(default=default, metadata={"type": "choice", "options": tuple(options), "unit": "", "why": why})


def flag(default: bool, *, why: str) -> Any:
    """Declare a yes-or-no field."""
    return field(default=default, metadata={"type": "flag", "unit": "", "why": why})


def choice_or_weights(default: str, options: Iterable[str], *, why: str) -> Any:
    """Declare a field that is one of some names, or a mapping of names to weights above 0."""
    rule = {"type": "choice or weights", "options": tuple(options)}
    return field(default=default, metadata={**rule, "unit": "", "why": why})


@dataclass(frozen=True, kw_only=True)
class SettingWarning:
    """What is allowed and hardly meant: a setting without effect, or one that harms beside others.

    Attributes:
        field: The setting.
        depends_on: The other settings by which it comes to that; empty where the data decides.
        text: What is so and why, and the remedy.
    """

    field: str
    depends_on: tuple[str, ...]
    text: str


def no_effect(name: str, *, because: Iterable[str] = (), text: str) -> SettingWarning:
    """Warn of a setting that changes nothing; `because` names the settings that decide so."""
    return SettingWarning(field=name, depends_on=tuple(because), text=f"has no effect {text}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Named settings, each a JSON primitive or a mapping of names to numbers, with a rule of its own.

    Raises:
        ConfigError: A value breaks its field's rule; names the field, the rule, the value and the remedy.
    """

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check(spec, getattr(self, spec.name))

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON, in the order of declaration."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Make a config from a dict; fields that it leaves out keep their defaults.

        Raises:
            ConfigError: A key is no field (names the nearest one), or a value breaks its rule.
        """
        known = cls.field_names()
        for name in settings:
            if name not in known:
                raise ConfigError(f"a setting {unknown_name(name, known)}", field=str(name))
        return cls(**settings)

    def warnings(self, info: DataInfo) -> list[SettingWarning]:
        """List what is allowed and hardly meant, whether a person set it or not."""
        return []

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """List the fields in the order of declaration."""
        return tuple(spec.name for spec in fields(cls))


def _check(spec: Field[Any], value: object) -> None:
    """Check one value against the rule that its field declares."""
    rule = spec.metadata
    match rule["type"]:
        case "flag":
            if not isinstance(value, bool):
                raise ConfigError(f"must be true or false, got {value!r}: give one of them", field=spec.name)
        case "choice":
            if not isinstance(value, str) or value not in rule["options"]:
                raise ConfigError(unknown_name(value, rule["options"]), field=spec.name)
        case "choice or weights" if isinstance(value, Mapping):
            _check_weights(spec, value)
        case "choice or weights":
            if value not in rule["options"]:
                raise ConfigError(
                    f"must be {', '.join(rule['options'])} or weights by name, got {value!r}: give one of them",
                    field=spec.name,
                )
        case "integer":
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"must be a whole number, got {value!r}: give one", field=spec.name)
            _check_range(spec, value)
            if rule["odd"] and value % 2 == 0:
                raise ConfigError(f"must be odd, got {value}: take {value - 1} or {value + 1}", field=spec.name)
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"must be a finite number, got {value!r}: give one", field=spec.name)
            _check_range(spec, value)


def _check_weights(spec: Field[Any], weights: Mapping[Any, Any]) -> None:
    for name, weight in weights.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not isinstance(name, str) or not is_number or not 0 < weight < math.inf:
            raise ConfigError(
                f"a weight must be a finite number above 0 behind a name, got {weight!r} for {name!r}: change it",
                field=spec.name,
            )


def _check_range(spec: Field[Any], value: float) -> None:
    rule = spec.metadata
    low, high, above_low = rule["low"], rule["high"], rule.get("above_low", False)
    if value < low or value > high or (above_low and value == low):
        sign = "<" if above_low else "<="
        unit = f" {rule['unit']}" if rule["unit"] else ""
        remedy = "lower it" if value > high else "raise it"
        raise ConfigError(
            f"{low} {sign} {spec.name} <= {high} must hold, got {value}{unit}: {remedy}", field=spec.name
        )
