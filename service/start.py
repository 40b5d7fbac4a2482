"""What a job starts from: the weights and the network's settings of an earlier bundle of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.transfer import Start
from service.bundle_files import CHECKPOINT, read_manifest
from service.errors import InvalidSpecError, NotFoundError
from service.spec import Spec

START_FROM = "start_from"
TRANSFER_SETTINGS = ("freeze_epochs", "loaded_lr_factor")
_FIELD = f"model.{START_FROM}"


@dataclass(frozen=True, kw_only=True)
class StartingBundle:
    """A bundle that a job starts from.

    Args:
        start: Its weights.
        settings: Of its network, those of its dropout aside; the job's networks have the same.
        fingerprint: Of its weights.
    """

    start: Start
    settings: Mapping[str, Any]
    fingerprint: str


def read_start(spec: Spec, preprocessing: Mapping[str, Any]) -> StartingBundle | None:
    """Read the bundle that `model.start_from` names; None where it names none.

    Args:
        spec: Of a built-in family.
        preprocessing: Of the data that the job is going to train on.

    Raises:
        InvalidSpecError: There is no such bundle, it does not fit the spec, or a setting needs one.
    """
    path = spec.model.get(START_FROM)
    if path is None:
        for name in TRANSFER_SETTINGS:
            if spec.model.get(name) is not None:
                raise InvalidSpecError(
                    f"is for a network that starts from a bundle: give {_FIELD}, or leave {name} out",
                    field=f"model.{name}",
                )
        return None
    folder = Path(str(path))
    try:
        manifest = read_manifest(folder)
    except (NotFoundError, InvalidSpecError) as error:
        raise InvalidSpecError(str(error), field=_FIELD) from None
    if manifest["family"] != spec.family_name:
        raise InvalidSpecError(
            f"a job starts from a bundle of its own family, {spec.family_name}, got one of {manifest['family']}: "
            "choose another bundle or family",
            field=_FIELD,
        )
    _check_columns(manifest["preprocessing"], preprocessing)
    settings = _network_settings(spec.family_name, manifest["settings"])
    _check_settings(spec, settings)
    return StartingBundle(
        start=_weights(folder, manifest), settings=settings, fingerprint=manifest["files"][CHECKPOINT]
    )


def _weights(folder: Path, manifest: Mapping[str, Any]) -> Start:
    import torch

    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    return Start(
        weights={name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)},
        class_names=tuple(manifest["info"]["class_names"]),
        words=tuple(manifest["preprocessing"].get("words", ())),
    )


def _network_settings(family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    from lightning_modules.families import get_family

    names = [name for name in get_family(family).config.field_names() if "dropout" not in name]
    return {name: settings[name] for name in names if name in settings}


def _check_settings(spec: Spec, settings: Mapping[str, Any]) -> None:
    """Refuse what would make another network than the bundle's."""
    for name, value in settings.items():
        if name in spec.search.space:
            raise InvalidSpecError(
                f"is the bundle's, {value!r}, while the job starts from its weights, and is not searched: leave "
                f"it out, or leave {_FIELD} out",
                field=f"search.space.{name}",
            )
        given = spec.model.get(name)
        if given is not None and given != value:
            raise InvalidSpecError(
                f"must be the bundle's, {value!r}, while the job starts from its weights, got {given!r}: leave it "
                f"out, or leave {_FIELD} out",
                field=f"model.{name}",
            )


def _check_columns(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a table whose inputs mean something else than the bundle's."""
    meanings = [
        ([column["name"] for column in one.get("numeric", ())], list(one.get("categories", ())))
        for one in (theirs, ours)
    ]
    if meanings[0] != meanings[1]:
        raise InvalidSpecError(
            "a table must have the columns and categories that the bundle was trained on, got others: give the "
            "same columns, or leave it out",
            field=_FIELD,
        )
