"""A spec as it travels to a server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import InvalidSpecError

_VARIABLE = re.compile(r"\$\{(\w+)\}")
SpecLike = Mapping[str, Any] | str | os.PathLike[str]


def spec_body(spec: SpecLike) -> tuple[bytes, str]:
    """Give a spec as it travels, and its media type: a mapping as JSON, a file as it is but for its variables.

    `${NAME}` in a file stands for this process's variable of that name. A server fills in none: it would tell its
    own. What is not set here stays, and the server names the field.

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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidSpecError(
            f"the spec must be a readable text file, got {path} ({why}): check the path"
        ) from None
    filled = _VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[0], text)
    return filled.encode(), "application/json" if path.suffix == ".json" else "application/yaml"


def _as_path(value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(f"{type(value).__name__} {value!r}")
