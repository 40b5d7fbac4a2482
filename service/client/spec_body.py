"""A spec as it travels to a server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import InvalidSpecError

SpecLike = Mapping[str, Any] | str | os.PathLike[str]


def spec_body(spec: SpecLike) -> tuple[bytes, str]:
    """Give a spec as it travels, and its media type: a mapping as JSON, a file as it is.

    Raises:
        InvalidSpecError: The file cannot be read, or JSON cannot hold what the mapping does.
    """
    if isinstance(spec, Mapping):
        try:
            return json.dumps(spec, allow_nan=False, default=_as_path).encode(), "application/json"
        except (TypeError, ValueError) as error:
            raise InvalidSpecError(f"a spec holds what JSON can hold, got: {error}: change it") from None
    path = Path(spec).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSpecError(
            f"the spec must be a readable text file, got {path} ({error.strerror}): check the path"
        ) from None
    return content, "application/json" if path.suffix == ".json" else "application/yaml"


def _as_path(value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(f"{type(value).__name__} {value!r}")
