"""What a child writes to standard output and error: a file beside the job's checkpoints, of bounded size."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from service.store import job_folder

MAX_BYTES = 2**20  # of the file, and of the one before it that is kept
TAIL_BYTES = 8192
MAX_LINE = 500  # characters of a line that becomes a message


def bound_file(path: Path, max_bytes: int) -> None:
    """Empty a file that others append to once it has grown too long; what it held is kept once, as NAME.1.

    They hold it open, so it is copied and emptied and not moved. What they write in between is lost.
    """
    if path.exists() and path.stat().st_size > max_bytes:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


@dataclass(frozen=True)
class JobLog:
    """The log of one job; every attempt adds to it."""

    path: Path

    @classmethod
    def of(cls, home: Path, job_id: str) -> JobLog:
        """Say where a job's log lies."""
        return cls(job_folder(home, job_id) / "log")

    def take_output(self) -> None:
        """Let this process, and those that it starts, write here."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.bound()
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)

    def bound(self) -> None:
        """Begin anew where the file has grown too long."""
        bound_file(self.path, MAX_BYTES)

    def last_line(self) -> str:
        """Give the last line that says something; empty where there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return next((line.strip()[:MAX_LINE] for line in reversed(lines) if line.strip()), "")
