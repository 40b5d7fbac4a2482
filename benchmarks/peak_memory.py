"""How much memory a process has had at once, as Linux counts it."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_S = 0.1  # between two looks: the peak only grows, so no more than the last moment can be missed


class PeakMemory:
    """Watches one process while it runs, and none of those that it has started; a context manager.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.gib = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            try:
                text = self._status.read_text(encoding="ascii", errors="replace")
            except OSError:
                return  # it has ended and nobody has waited for it
            self.gib = max(self.gib, peak_gib(text))
            if self._ended.wait(LOOK_S):
                return


def peak_gib(status: str) -> float:
    """Read the peak of resident memory from a process's status; 0 where there is none any more."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 2**20 if found else 0.0
