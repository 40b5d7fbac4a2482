"""Processes by number and start time, as the system uses numbers again; and how a group of them is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.processes import die_with_parent

LOOK_S = 0.05
SAME_MOMENT_S = 0.02  # psutil gives start times in hundredths of a second


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """One process, and no later one of the same number."""

    pid: int
    created: float  # seconds since 1970

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Name a process that runs now; None where none does."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid=pid, created=process.create_time())
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """It runs."""
        found = ProcessId.of(self.pid)
        return found is not None and abs(found.created - self.created) < SAME_MOMENT_S

    def group(self) -> list[psutil.Process]:
        """List the processes of the group that it leads, itself first; also those that have outlived it.

        While one of them runs, the system gives the group's number to no new process. So a process that has the
        number and is not this one says that the group is gone.
        """
        if psutil.pid_exists(self.pid) and ProcessId.of(self.pid) is not None and not self.is_alive():
            return []
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == self.pid:
                    found.append(process)
        return sorted(found, key=lambda process: process.pid != self.pid)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to all of its group."""
        for process in self.group():
            with suppress(psutil.Error):
                process.send_signal(number)


def end_group(leader: ProcessId, *, grace_s: float) -> None:
    """End a process with its group: politely, and after the time of grace in any case."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        leader.signal_group(number)
        deadline = time.monotonic() + grace_s
        while leader.group() and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def start_part(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that leads a group of its own, writes to a log, and dies with this one.

    This process must have one thread alone: code runs between fork and exec.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  one thread, see above
        )
