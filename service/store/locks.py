"""One process runs a job: a lock on a file that the kernel frees when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from service.errors import ConflictError
from service.store.checkpoints import job_folder

_held: weakref.WeakSet[JobLock] = weakref.WeakSet()


class JobLock:
    """The right to run a job, held from `acquire` to `release`; a context manager.

    It excludes other processes on the machine and other threads of this one. A child process never holds it: a
    forked one closes its copy, a started one does not get it.

    Args:
        home: The folder of the store.
        job_id: The job.

    Source:
        flock(2): the lock belongs to the open file, and ends with its last descriptor.
    """

    def __init__(self, home: Path, job_id: str) -> None:
        self.path = job_folder(home, job_id) / "lock"
        self._job_id = job_id
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take the lock.

        Raises:
            ConflictError: Another process runs the job; the message names it.
        """
        if self._descriptor is not None:
            raise ConflictError(f"a lock is taken once, got job {self._job_id} again: release it first")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            raise ConflictError(
                f"a job is run by one process at a time, got job {self._job_id}, which {who} is running: "
                "wait for it, or end it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        _held.add(self)
        return self

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._close()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)


def _leave_to_parent() -> None:
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_leave_to_parent)
