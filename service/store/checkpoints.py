"""Checkpoints as files beside the store.

They are named by job, trial and epoch. A checkpoint is on disk before its leg is on record: a record without its
file cannot be, a file without its record is written again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from service.errors import NotFoundError

_NAME = re.compile(r"t(\d{6,})-e(\d{6,})\.ckpt")


def job_folder(home: Path, job_id: str) -> Path:
    """Name the folder of everything that a job leaves outside the store."""
    return home / "jobs" / job_id


class CheckpointFiles:
    """The checkpoints of every job under a home.

    Args:
        home: The folder of the store; checkpoints lie in jobs/<job>/checkpoints.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def path(self, job_id: str, trial: int, epoch: int) -> Path:
        """Say where a checkpoint is or would be."""
        return self._folder(job_id) / f"t{trial:06d}-e{epoch:06d}.ckpt"

    def write(self, job_id: str, trial: int, epoch: int, data: bytes) -> Path:
        """Write a checkpoint: when this returns it is on disk, and before it the old file is untouched.

        The `JobLock` of the job makes this process the only writer.
        """
        path = self.path(job_id, trial, epoch)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        _sync_folder(path.parent)
        return path

    def read(self, job_id: str, trial: int, epoch: int) -> bytes:
        """Read a checkpoint.

        Raises:
            NotFoundError: It was never written, or deleted.
        """
        path = self.path(job_id, trial, epoch)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                f"a checkpoint stays while its trial may go on or win, got none for trial {trial} of job "
                f"{job_id} at epoch {epoch} ({path}): start another job with --new"
            ) from None

    def delete(self, job_id: str, trial: int, epoch: int) -> None:
        """Delete a checkpoint; nothing happens where there is none."""
        self.path(job_id, trial, epoch).unlink(missing_ok=True)

    def kept(self, job_id: str) -> tuple[tuple[int, int], ...]:
        """List the checkpoints of a job as (trial, epoch), in order."""
        matches = [_NAME.fullmatch(path.name) for path in self._folder(job_id).glob("*.ckpt")]
        return tuple(sorted((int(match[1]), int(match[2])) for match in matches if match))

    def _folder(self, job_id: str) -> Path:
        return job_folder(self._home, job_id) / "checkpoints"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the name belongs to the folder, not to the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
