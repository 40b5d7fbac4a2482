"""A spec as a body: read, confined to what this server allows, and checked as far as no data is needed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from search_spaces import SpaceError, get_space
from service.api.bodies import JSON, parse_json, parse_yaml
from service.api.facts import DATASETS, FAMILIES
from service.confinement import check_confined, check_raw_paths
from service.data_sections import NamedData
from service.documents import parse_spec
from service.errors import InvalidSpecError
from service.settings import Settings
from service.spec import Spec


def base_folder(settings: Settings) -> Path:
    """Say where the relative paths of specs start: at the first root."""
    return settings.data_roots[0] if settings.data_roots else settings.home


def read_spec(body: bytes, media_type: str, settings: Settings) -> Spec:
    """Read a spec from a body.

    Raises:
        ProblemError: The body is not what its type says.
        InvalidSpecError: A rule is broken; names the field.
        ForbiddenFieldError: It names a file or a module that this server does not allow.
    """
    document = parse_json(body) if media_type == JSON else parse_yaml(body)
    if not isinstance(document, Mapping):
        found = "nothing" if document is None else type(document).__name__
        raise InvalidSpecError(f"a spec is a mapping of name, family, data, ..., got {found}: send one")
    check_raw_paths(document)
    spec = parse_spec(document, folder=base_folder(settings))
    check_confined(spec, roots=settings.data_roots, modules=settings.allowed_modules)
    _check_names(spec)
    return spec


def _check_names(spec: Spec) -> None:
    """Find at once what would be found when the job runs: a wrong set, family of data, or parameter."""
    if isinstance(spec.data, NamedData):
        name = spec.data.name
        if name not in DATASETS:
            near = difflib.get_close_matches(name, DATASETS, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(DATASETS)}"
            raise InvalidSpecError(f"unknown set {name!r}: {remedy}", field="data.name")
        kind = DATASETS[name]["kind"]
        if isinstance(spec.family, str) and kind not in FAMILIES[spec.family]["data"]:
            kinds = " or ".join(FAMILIES[spec.family]["data"])
            raise InvalidSpecError(
                f"{spec.family} takes {kinds} data, got {kind}: choose another family or data", field="family"
            )
    if isinstance(spec.family, str):
        try:
            get_space(spec.family).override(spec.search.space, allow_new=False)
        except SpaceError as error:
            field = f"search.space.{error.field}" if error.field else "search.space"
            raise InvalidSpecError(str(error).removeprefix(f"{error.field}: "), field=field) from None
