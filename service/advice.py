"""What a spec may say and hardly means: settings without effect, or that harm beside others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_modules.config import SettingWarning
from lightning_modules.data.base import DataInfo
from search_spaces import SearchSpace
from service.spec import Spec


def warnings_of(spec: Spec, space: SearchSpace, info: DataInfo, *, fixed: Mapping[str, Any]) -> tuple[str, ...]:
    """Word the warnings about what a person fixed or lets search, each with its field in the spec.

    A setting that depends on a searched one is left alone: some trial will use it. What harms is looked for at the
    edges of a range as well.

    Args:
        spec: With a built-in family, checked before.
        space: What is searched.
        info: Of the data.
        fixed: Settings that no trial changes: the person's, and those of a bundle that the job starts from.
    """
    base = {**space.defaults(), **fixed}
    given = {key for key, value in spec.model.items() if value is not None}
    found: dict[str, None] = {}
    for setting, settings in _variants(space, base):
        for warning in _warnings(spec.family_name, settings, info):
            name = warning.field
            is_chosen = name in given or name in space.names
            if is_chosen and setting in (None, name) and not _open(warning, space):
                found[f"{'model' if name in given else 'search.space'}.{name}: {warning.text}"] = None
    return tuple(found)


def _variants(space: SearchSpace, base: Mapping[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    yield None, dict(base)
    for parameter in space:
        for value in parameter.edges():
            yield parameter.name, {**base, parameter.name: value}


def _warnings(family: str, settings: Mapping[str, Any], info: DataInfo) -> list[SettingWarning]:
    from lightning_modules.families import split_settings

    config, recipe = split_settings(family, settings)
    return [*config.warnings(info), *recipe.warnings(info)]


def _open(warning: SettingWarning, space: SearchSpace) -> bool:
    return any(name in space.names for name in warning.depends_on)
