"""What a spec from somebody else may reach here: files below given folders, modules of given packages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from service.data_sections import ModuleData
from service.documents import PATH_KEYS
from service.errors import ForbiddenFieldError
from service.spec import ModuleFamily, Spec


def check_raw_paths(body: Mapping[str, Any]) -> None:
    """Refuse paths that speak of this machine's own environment, before anything is filled in.

    Args:
        body: The document, before it is parsed.

    Raises:
        ForbiddenFieldError: A path holds `${NAME}` or begins with `~`: both would tell what they stand for here.
    """
    for field, text in _raw_paths(body):
        first = PurePath(text).parts[:1]
        if "${" in text or (first and first[0].startswith("~")):
            raise ForbiddenFieldError(
                f"a path on a server has no ${{NAME}} and no ~, got {text!r}: write it out, or set the "
                "variable where you submit",
                field=field,
            )


def check_confined(spec: Spec, *, roots: Sequence[Path], modules: Sequence[str]) -> None:
    """Check that a spec names no file and no module beyond what is allowed. Links are followed.

    Args:
        spec: With absolute paths, as `parse_spec` gives it.
        roots: Folders; files lie below one of them.
        modules: Packages or modules; what is imported is one of them or lies in one.

    Raises:
        ForbiddenFieldError: It names one; the message does not tell whether it exists.
    """
    for field, path in spec_modules(spec):
        module = path.partition(":")[0]
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in modules):
            raise ForbiddenFieldError(
                f"a module on this server is of {', '.join(modules) or 'no package'}, got {module}: choose one, "
                "or have its administrator add the package to TUNELADDER_ALLOWED_MODULES",
                field=field,
            )
    for field, path in spec_paths(spec):
        real = os.path.realpath(path)
        if not any(_lies_below(real, os.path.realpath(root)) for root in roots):
            below = " or ".join(map(str, roots)) or "no folder"
            raise ForbiddenFieldError(
                f"a file on this server lies below {below}, links followed, got {path}: put it there, or have its "
                "administrator add the folder to TUNELADDER_DATA_ROOTS",
                field=field,
            )


def spec_paths(spec: Spec) -> Iterator[tuple[str, str]]:
    """List the paths that a spec names, each with its field."""
    if not isinstance(spec.data, ModuleData):
        for key in PATH_KEYS:
            path = getattr(spec.data, key, None)
            if path is not None:
                yield f"data.{key}", path
    start = spec.model.get("start_from")
    # Of a module of one's own, `model` holds arguments that nobody here knows the meaning of.
    if start is not None and isinstance(spec.family, str):
        yield "model.start_from", str(start)


def spec_modules(spec: Spec) -> Iterator[tuple[str, str]]:
    """List the import paths that a spec names, each with its field."""
    if isinstance(spec.family, ModuleFamily):
        yield "family.module", spec.family.module
    if isinstance(spec.data, ModuleData):
        yield "data.module", spec.data.module


def _raw_paths(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section, keys in (("data", PATH_KEYS), ("model", ("start_from",))):
        values = body.get(section)
        if isinstance(values, Mapping):
            for key in keys:
                if isinstance(values.get(key), str):
                    yield f"{section}.{key}", values[key]


def _lies_below(path: str, root: str) -> bool:
    return os.path.commonpath((path, root)) == root
