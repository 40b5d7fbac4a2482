"""Files from the internet: fetched once, checked, and kept in one folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import requests
import tenacity
import urllib3
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from lightning_modules.data.files import RemoteFile
from lightning_modules.errors import DataError

_ATTEMPTS = 3  # at each mirror
_WAIT = tenacity.wait_exponential(multiplier=0.5, max=8)  # seconds: 0.5, 1, ...
_TIMEOUTS_S = (10.0, 60.0)  # to connect; between two pieces
_CHUNK_BYTES = 2**18
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _FailedError(Exception):
    """A mirror does not give the file; to ask again would not help."""


class _TransientError(_FailedError):
    """A mirror did not give the file this time."""


def data_folder() -> Path:
    """Give the folder of downloaded sets: `$TUNELADDER_DATA`, else `tuneladder` in the person's cache folder."""
    named = os.environ.get("TUNELADDER_DATA")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "tuneladder"


def fetch_files(files: Sequence[RemoteFile], *, mirrors: Sequence[str], folder: Path, field: str) -> list[Path]:
    """Give the files' paths, after downloading those that are not in the folder.

    A file appears in the folder whole and checked, or not at all. Of several processes one downloads, the others
    wait for it and take its file.

    Args:
        files: What is wanted.
        mirrors: Addresses that end in `/`, in the order in which they are tried for each file.
        folder: Where the files are kept.
        field: The data source's field that an error names.

    Raises:
        DataError: A file that is there is another one, no mirror gives one that is not, or the folder cannot be
            written to.
    """
    paths = []
    for file in files:
        path = folder / file.name
        if not path.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / f".{file.name}.lock"):
                    if not path.exists():  # else another process was faster
                        _download(file, mirrors, path)
            except OSError as error:
                raise DataError(
                    f"downloaded files are kept in {folder}, which cannot be written to "
                    f"({error.strerror or error}): set TUNELADDER_DATA to a folder that can",
                    field=field,
                ) from error
            except _FailedError as error:
                absent = [
                    f"{other.name} (MD5 {other.md5})" for other in files if not (folder / other.name).exists()
                ]
                raise DataError(
                    f"the files are downloaded once, and no mirror gives {file.name} ({error}): connect to the "
                    f"internet, or put these into {folder}: {', '.join(absent)}",
                    field=field,
                ) from error
        _check(path, file, field)
        paths.append(path)
    return paths


def _check(path: Path, file: RemoteFile, field: str) -> None:
    try:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"the file must be readable, {path}: {error.strerror}: check it", field=field) from error
    if found != file.md5:
        raise DataError(
            f"the file must be the published one (MD5 {file.md5}), {path} has {found}: remove it, so that it is "
            "downloaded again",
            field=field,
        )


def _download(file: RemoteFile, mirrors: Sequence[str], path: Path) -> None:
    """Try each mirror, more than once where another attempt may help; a bar on a terminal shows how far it is."""
    problems = []
    part = path.with_name(f".{file.name}.{uuid4().hex}.part")
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=_WAIT,
        retry=tenacity.retry_if_exception_type(_TransientError),
        reraise=True,
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"downloading {file.name}", total=None)
            for mirror in mirrors:
                url = f"{mirror}{file.name}"
                try:
                    retrying(_download_once, url, part, md5=file.md5, progress=progress, task=task)
                except _FailedError as error:
                    problems.append(f"{url}: {error}")
                else:
                    part.replace(path)
                    return
    finally:
        part.unlink(missing_ok=True)
    raise _FailedError("; ".join(problems))


def _download_once(url: str, part: Path, *, md5: str, progress: Progress, task: TaskID) -> None:
    progress.reset(task)
    try:
        # As it is: a .gz file is what is wanted, not what is in it.
        headers = {"Accept-Encoding": "identity"}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS_S) as response:
            if not response.ok:
                kind = _TransientError if response.status_code in _TRANSIENT_STATUS else _FailedError
                raise kind(f"HTTP {response.status_code} {response.reason}")
            length = response.headers.get("Content-Length", "")
            progress.update(task, total=int(length) if length.isdecimal() else None)
            digest = hashlib.md5(usedforsecurity=False)
            with part.open("wb") as content:
                for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                    content.write(chunk)
                    digest.update(chunk)
                    progress.advance(task, len(chunk))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _TransientError(_reason(error)) from error
    if digest.hexdigest() != md5:
        raise _FailedError(f"another file, of MD5 {digest.hexdigest()}")


def _reason(error: BaseException) -> str:
    """Give the innermost of the errors that wrap each other: what happened, without the pools it happened in."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
