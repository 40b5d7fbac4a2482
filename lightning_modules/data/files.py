"""Files that may not be there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning_modules.errors import DataError


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A published file: its name behind each mirror's address, and its MD5 checksum as published."""

    name: str
    md5: str


def check_file(path: Path, *, field: str) -> None:
    """Check that a path is a file with something in it.

    Raises:
        DataError: It is absent, a folder, not readable or empty.
    """
    if path.is_dir():
        raise DataError(f"a file is needed, {path} is a folder: name a file in it", field=field)
    if not path.exists():
        raise DataError(f"the file must exist, {path} does not: check the path", field=field)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(f"the file must be readable, {path}: {error.strerror}: check it", field=field) from error
    if empty:
        raise DataError(f"the file must hold data, {path} is empty: write it again", field=field)
