"""How a process is tied to the one that made it."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """Have Linux send this process a signal when the thread that made it ends; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(by))
