"""A bundle's folder as a .tar.gz: made while it is sent, and the same bytes for the same files."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from service.api.problems import ProblemError

MEDIA_TYPE = "application/gzip"
CHUNK_BYTES = 256 * 1024
_GZIP = 31  # zlib's word for a gzip header, which then holds neither name nor time
_LEVEL = 1  # weights hardly get smaller


class BundleArchive:
    """The files of a bundle, opened: what is sent is one bundle, even if another takes its place meanwhile.

    Args:
        folder: The bundle.
        below: The folder that all bundles lie in; links out of it are not followed.
        name: Of the archive's only folder.

    Raises:
        ProblemError: There is no bundle at this place any more.
    """

    def __init__(self, folder: Path, *, below: Path, name: str) -> None:
        self.name = name
        self._stack = ExitStack()
        self._files: list[tuple[str, IO[bytes]]] = []
        real = folder.resolve()
        if not real.is_relative_to(below.resolve()) or real == below.resolve() or not real.is_dir():
            raise _gone()
        try:
            for path in sorted(real.iterdir()):
                if not path.is_symlink() and path.is_file():
                    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                    self._files.append((path.name, self._stack.enter_context(os.fdopen(descriptor, "rb"))))
        except OSError:
            self.close()
            raise _gone() from None

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __iter__(self) -> Iterator[bytes]:
        """Give the archive piece by piece."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        for piece in self._pieces():
            packed = packer.compress(piece)
            if packed:
                yield packed
        yield packer.flush()

    def _pieces(self) -> Iterator[bytes]:
        for name, file in self._files:
            info = tarfile.TarInfo(f"{self.name}/{name}")
            info.size = left = os.fstat(file.fileno()).st_size
            yield info.tobuf(format=tarfile.PAX_FORMAT)
            while left:
                piece = file.read(min(CHUNK_BYTES, left))
                if not piece:
                    raise OSError(f"{name} became shorter while it was sent")
                left -= len(piece)
                yield piece
            yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
        yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _gone() -> ProblemError:
    return ProblemError("not_found", "the bundle is not there any more: ask for an export of the job")
