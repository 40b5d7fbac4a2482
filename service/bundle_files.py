"""What lies in a bundle's folder, and that it is as it was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from service.errors import ConflictError, InvalidSpecError, NotFoundError

FORMAT = 1
MANIFEST = "bundle.json"
CHECKPOINT = "checkpoint.ckpt"
SAFETENSORS = "model.safetensors"


def checksum(path: Path) -> str:
    """Hash a file (SHA-256, hex)."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_free(folder: Path) -> Path:
    """Check that a bundle can be written to a folder.

    Raises:
        ConflictError: Something stands there.
    """
    if folder.exists() or folder.is_symlink():
        raise ConflictError(f"a bundle is written to a new folder, {folder} exists: choose another with --to")
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `bundle.json` and check the files that it names.

    Raises:
        NotFoundError: There is no bundle.
        InvalidSpecError: It is of another format, or a file of it was changed or lost.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"a bundle is a folder with {MANIFEST}, {folder} has none: check the path") from None
    if manifest.get("format") != FORMAT:
        raise InvalidSpecError(
            f"bundles of format {FORMAT} can be read, {folder} has {manifest.get('format')!r}: use the version "
            "of tuneladder that environment.json in it names"
        )
    for name, expected in manifest["files"].items():
        file = folder / name
        if not file.exists() or checksum(file) != expected:
            state = "changed" if file.exists() else "missing"
            raise InvalidSpecError(
                f"a bundle's files must be as they were written, {file} is {state}: export it again"
            )
    return manifest
