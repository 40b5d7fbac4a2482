"""A bundle that arrives as .tar.gz: unpacked into a folder that is there whole or not at all."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from service.bundle_files import MANIFEST, check_free, read_manifest
from service.client.errors import NotTuneladderError
from service.errors import TuneladderError


def unpack_bundle(archive: IO[bytes], folder: Path) -> Path:
    """Unpack a bundle and check every file against the checksums in `bundle.json`.

    Args:
        archive: A .tar.gz with plain files, all in one folder or in none.
        folder: Where they go; it must not exist.

    Raises:
        ConflictError: Something stands at `folder`.
        NotTuneladderError: The archive is no bundle, a file is not as it was written, or there is something other
            than plain files. Nothing is left of it.
    """
    check_free(folder)
    half = folder.with_name(f".{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        _write_files(archive, half)
        _check_files(half)
        check_free(folder)
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return folder


def _write_files(archive: IO[bytes], folder: Path) -> None:
    parents: set[PurePosixPath] = set()
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as opened:
            for member in opened:
                if member.isdir():
                    continue
                path = PurePosixPath(member.name)
                parents.add(path.parent)
                if not member.isreg() or path.is_absolute() or ".." in path.parts or len(parents) > 1:
                    raise _refused(member.name)
                source = opened.extractfile(member)
                assert source is not None  # of a regular file
                with (folder / path.name).open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileExistsError):
            raise TuneladderError(
                f"a bundle must be written to {folder.parent}, got: {error}: make room"
            ) from None
        raise NotTuneladderError(f"a bundle comes as a whole .tar.gz, got: {error}: ask for it again") from None


def _refused(name: str) -> NotTuneladderError:
    return NotTuneladderError(
        f"a bundle holds plain files in one folder, the archive has {name!r}: nothing of it was kept; look at the "
        "server that sent it"
    )


def _check_files(folder: Path) -> None:
    try:
        named = {MANIFEST, *read_manifest(folder)["files"]}
    except (TuneladderError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).replace(f"{folder}/", "").partition(":")[0]
        raise NotTuneladderError(
            f"what arrives must be a whole bundle, got another: {reason}; nothing was kept: ask for it again"
        ) from None
    strange = sorted(path.name for path in folder.iterdir() if path.name not in named)
    if strange:
        raise _refused(strange[0])
