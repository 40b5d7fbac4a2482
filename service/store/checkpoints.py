"""Checkpoints as files beside the store.

They are named by job, trial and epoch. A checkpoint is on disk before its leg is on record: a record without its
file cannot be, a file without its record is written again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
        """Write a checkpoint; see `write_all`."""
        self.write_all(job_id, {(trial, epoch): data})
        return self.path(job_id, trial, epoch)

    def write_all(self, job_id: str, data: Mapping[tuple[int, int], bytes]) -> None:
        """Write checkpoints: when this returns they are on disk, and before it the old files are untouched.

        The `JobLock` of the job makes this process the only writer.

        Args:
            job_id: The job.
            data: By trial and epoch.
        """
        if not data:
            return
        folder = self._folder(job_id)
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        halves = {self.path(job_id, *key).with_suffix(".half"): content for key, content in data.items()}
        for half, content in halves.items():
            half.write_bytes(content)
        for half in halves:  # after the last one is written: the disk takes them together
            _sync(half)
        for half in halves:
            half.replace(half.with_suffix(".ckpt"))
        _sync(folder)  # a rename is the folder's

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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
