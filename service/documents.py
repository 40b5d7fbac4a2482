"""Specs as documents: read YAML or JSON, fill in paths and environment variables, explain what is wrong."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from service.data_sections import data_section
from service.errors import InvalidSpecError
from service.spec import ModuleFamily, Spec

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FIELD = re.compile(r"[a-z_0-9]+")
_PRIMITIVES = frozenset({"bool", "int", "float", "str"})
_OPEN_SECTIONS = frozenset({"model", "space", "params"})
PATH_KEYS = ("csv", "parquet", "idx", "images", "text", "npz", "series", "test")


class SpecLoader(yaml.SafeLoader):
    """YAML as people mean it: a key stands once, and 1e-4 is a number (in YAML 1.1 it is a text)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice; YAML would take the last one in silence."""
        scalars = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        keys = Counter(key.value for key in scalars if key.tag != "tag:yaml.org,2002:merge")
        repeated = next((key for key, count in keys.items() if count > 1), None)
        if repeated is not None:
            problem = f"the key {repeated!r} stands twice in one mapping"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


SpecLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def load_spec(path: Path) -> Spec:
    """Read a spec from a YAML or JSON file; its paths become absolute.

    Raises:
        InvalidSpecError: The file cannot be read or breaks a rule; one message, one field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidSpecError(
            f"the spec must be a readable text file, got {path} ({reason}): check the path"
        ) from None
    try:
        body = yaml.load(text, Loader=SpecLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise InvalidSpecError(f"{path} must be YAML or JSON, got: {problem}{at}: correct it") from None
    if not isinstance(body, Mapping):
        found = "an empty file" if body is None else type(body).__name__
        raise InvalidSpecError(
            f"a spec is a mapping of name, family, data, ..., got {found} in {path}: see examples/"
        )
    return parse_spec(body, folder=path.parent)


def parse_spec(body: Mapping[str, Any], *, folder: Path | None = None) -> Spec:
    """Validate a spec that is already a mapping.

    Args:
        body: The document.
        folder: What relative paths are relative to; default the current folder.

    Raises:
        InvalidSpecError: A rule is broken; names the field, the rule, the value and the remedy.
    """
    resolved = dict(body)
    data = resolved.get("data")
    if isinstance(data, Mapping):
        resolved["data"] = {
            key: resolve_path(value, folder=folder or Path.cwd(), field=f"data.{key}")
            if key in PATH_KEYS and isinstance(value, str)
            else value
            for key, value in data.items()
        }
    model = resolved.get("model")
    # Of a module of one's own, `model` holds arguments that nobody here knows the meaning of.
    if (
        isinstance(body.get("family"), str)
        and isinstance(model, Mapping)
        and isinstance(model.get("start_from"), str)
    ):
        path = resolve_path(model["start_from"], folder=folder or Path.cwd(), field="model.start_from")
        resolved["model"] = {**model, "start_from": path}
    try:
        # Strict, and as JSON: "12" is no number and 1 no text, yet a list may be a tuple.
        text = json.dumps(resolved, default=str)
    except ValueError:
        raise InvalidSpecError(
            "a spec is a tree, got a YAML alias (*name) inside of what it stands for: write the values out"
        ) from None
    try:
        return Spec.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _explain(error, resolved) from None


def resolve_path(text: str, *, folder: Path, field: str) -> str:
    """Fill in `${NAME}` and make a path absolute.

    Raises:
        InvalidSpecError: A variable is not set.
    """

    def fill(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if not value:
            raise InvalidSpecError(
                f"environment variables in a path must be set, {match[1]} is not in {text!r}: "
                f"export {match[1]}=/path/to/data",
                field=field,
            )
        return value

    return os.path.normpath(folder.absolute() / Path(_VARIABLE.sub(fill, text)).expanduser())


def _explain(error: ValidationError, body: Mapping[str, Any]) -> InvalidSpecError:
    """Turn the first of pydantic's errors into one message: field, rule, value, remedy."""
    problems = error.errors()
    first = problems[0]
    parts = _field_parts(first["loc"], is_unknown_key=first["type"] == "extra_forbidden")
    if parts and parts[-1] in _PRIMITIVES:
        parts.pop()
    field = ".".join(parts)
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        return InvalidSpecError(_unknown_key(parts, body), field=field)
    if first["type"] == "missing":
        return InvalidSpecError(f"is required: add {parts[-1]} to the spec", field=field)
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return InvalidSpecError(message, field=field or None)
    rule = message[0].lower() + message[1:].replace("an object", "a mapping")
    return InvalidSpecError(f"{rule}, got {_short(given)}: change it", field=field)


def _field_parts(location: tuple[int | str, ...], *, is_unknown_key: bool) -> list[str]:
    """Leave out the branches of unions that pydantic tried, which stand among the names of fields."""
    parts: list[str] = []
    for index, part in enumerate(map(str, location)):
        is_person_s_own = bool(parts) and parts[-1] in _OPEN_SECTIONS  # any name, whatever its letters
        is_last = index == len(location) - 1
        if _FIELD.fullmatch(part) or is_person_s_own or (is_unknown_key and is_last):
            parts.append(part)
    return parts


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_key(parts: list[str], body: Mapping[str, Any]) -> str:
    known = _keys_at(parts[:-1], body)
    near = difflib.get_close_matches(parts[-1], known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {parts[-1]!r}: {remedy}"


def _keys_at(parts: list[str], body: Mapping[str, Any]) -> list[str]:
    """List the keys that a section of the spec knows."""
    if parts == ["data"]:
        return list(data_section(body["data"]).model_fields)
    section: type[BaseModel] = ModuleFamily if parts[:1] == ["family"] else Spec
    for part in parts[1:] if section is ModuleFamily else parts:
        info = section.model_fields.get(part)
        kind = info.annotation if info else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        section = kind
    return list(section.model_fields)
