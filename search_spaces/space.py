"""A search space: ordered parameters with conditions, constraints and companions; to and from YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces.errors import SpaceError
from search_spaces.parameters import Parameter, Value, from_dict, to_dict


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A parameter matters only while another one has one of these values."""

    parameter: str
    when: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Ordered parameters of one family.

    Args:
        name: The family's name, or the import path of a person's own module.
        parameters: In the order in which they are tuned where the documented order says nothing.
        conditions: Parameters that are inactive at some values of others. An inactive parameter keeps its
            default in `complete`, so that two params that mean the same network are the same mapping.
        companions: Beyond the documented order: parameter -> the one that it interacts with.
        optional: Parameters that are searched only where a spec's `search.space` names them; they come last.
    """

    name: str
    parameters: tuple[Parameter, ...]
    conditions: tuple[Condition, ...] = ()
    companions: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[Parameter, ...] = ()

    def __post_init__(self) -> None:
        names = (*self.names, *(parameter.name for parameter in self.optional))
        if len(set(names)) < len(names):
            raise SpaceError(f"parameters have different names, got {list(names)}")
        for condition in self.conditions:
            for name in (condition.parameter, condition.when):
                if name not in names:
                    raise SpaceError(f"a condition names parameters of the space, got {name!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise SpaceError(f"unknown parameter {name!r}{self._nearest(name)}", field=name)

    def _nearest(self, name: str) -> str:
        names = (*self.names, *(parameter.name for parameter in self.optional))
        near = difflib.get_close_matches(name, names, n=1)
        return f": did you mean {near[0]!r}?" if near else f": the space has {', '.join(names)}"

    def companion(self, name: str) -> str | None:
        """Name the parameter that `name` interacts with, if this space has it."""
        other = self.companions.get(name)
        return other if other in self.names else None

    def defaults(self) -> dict[str, Value]:
        """Every parameter at its default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def is_active(self, name: str, params: Mapping[str, Value]) -> bool:
        """Say whether a parameter matters under these values."""
        return all(
            params.get(condition.when) in condition.values
            for condition in self.conditions
            if condition.parameter == name
        )

    def complete(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Fill in defaults for what is missing or inactive.

        Raises:
            SpaceError: A name is unknown or a value lies outside its range.
        """
        for name, value in params.items():
            if not self[name].contains(value):
                raise SpaceError(
                    f"a value lies in {self[name].text()}, got {value!r}: change it or widen the range",
                    field=name,
                )
        full = self.defaults() | dict(params)
        return {name: value if self.is_active(name, full) else self[name].default for name, value in full.items()}

    def without(self, names: Sequence[str]) -> SearchSpace:
        """Drop parameters that are fixed, with the conditions that hang on them."""
        gone = set(names)
        return replace(
            self,
            parameters=tuple(p for p in self.parameters if p.name not in gone),
            conditions=tuple(c for c in self.conditions if not gone & {c.parameter, c.when}),
            optional=tuple(p for p in self.optional if p.name not in gone),
        )

    def override(self, changes: Mapping[str, Mapping[str, Any]], *, allow_new: bool = False) -> SearchSpace:
        """Lay a spec's `search.space` over this space; what is optional and named is searched too.

        Args:
            changes: Parameter name -> the fields that change, none for an optional parameter as it is.
            allow_new: Whether parameters may be added (a person's own module starts from an empty space).

        Raises:
            SpaceError: A name is unknown, or the result breaks a parameter's rule.
        """
        parameters = {parameter.name: parameter for parameter in self.parameters}
        parameters |= {parameter.name: parameter for parameter in self.optional if parameter.name in changes}
        for name, body in changes.items():
            if name not in parameters and not allow_new:
                raise SpaceError(f"unknown parameter{self._nearest(name)}", field=name)
            parameters[name] = from_dict(name, body, parameters.get(name))
        return replace(
            self,
            parameters=tuple(parameters.values()),
            optional=tuple(parameter for parameter in self.optional if parameter.name not in changes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe the space as JSON primitives (and so as YAML)."""
        return {
            "name": self.name,
            "parameters": [{"name": parameter.name} | to_dict(parameter) for parameter in self.parameters],
            "conditions": [
                {"parameter": c.parameter, "when": c.when, "values": list(c.values)} for c in self.conditions
            ],
            "companions": dict(self.companions),
            "optional": [{"name": parameter.name} | to_dict(parameter) for parameter in self.optional],
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> SearchSpace:
        """Read what `to_dict` wrote."""
        return cls(
            name=str(body["name"]),
            parameters=_parameters(body["parameters"]),
            conditions=tuple(
                Condition(parameter=c["parameter"], when=c["when"], values=tuple(c["values"]))
                for c in body.get("conditions", ())
            ),
            companions=dict(body.get("companions", {})),
            optional=_parameters(body.get("optional", ())),
        )


def _parameters(bodies: Sequence[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    fields = [{key: value for key, value in body.items() if key != "name"} for body in bodies]
    return tuple(from_dict(str(body["name"]), own) for body, own in zip(bodies, fields, strict=True))
