"""Ends what a killed driver would leave behind.

Linux ends Ray's main processes together with their driver, and workers follow in a moment. The two agents of
the raylet do not: they try for 60 s to report its death to a server that died with it. So a driver starts
this file as a small script of its own and holds its standard input; when that closes, the driver is gone.

    python -I -S guard.py PID:START [PID:START ...]     START: /proc's start time, as pids are used again
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


def start_guard() -> subprocess.Popen[bytes] | None:
    """Guard the children of this process's raylet; None where there is no /proc (Ray has its own way there)."""
    raylets = [pid for pid in _children(os.getpid()) if _stat(pid)[0] == "raylet"]
    guarded = [f"{pid}:{_stat(pid)[2]}" for raylet in raylets for pid in _children(raylet)]
    if not guarded:
        return None
    # A session of its own: Ctrl-C in a terminal reaches the driver, not the guard.
    command = [sys.executable, "-I", "-S", __file__, *guarded]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _stat(pid: int) -> tuple[str, int, str]:
    """Name, parent and start time of a process; ("", 0, "") if it is gone."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return "", 0, ""
    fields = rest.split()  # from the third field of proc_pid_stat(5) on
    return name.partition("(")[2], int(fields[1]), fields[19]


def _children(parent: int) -> list[int]:
    if not Path("/proc/self/stat").exists():
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _stat(pid)[1] == parent]


def _main() -> None:
    sys.stdin.buffer.read()
    for guarded in sys.argv[1:]:
        pid, _, started = guarded.partition(":")
        if _stat(int(pid))[2] == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    _main()
