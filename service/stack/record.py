"""What is known of a home's stack: `stack.json`, written by the process that supervises it and read by anybody."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.errors import ConflictError
from service.stack.processes import ProcessId

PartState = Literal["starting", "running", "waiting", "ended"]


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """One part of the stack, such as the worker."""

    name: str
    state: PartState  # waiting: it died, and starts again in a moment
    process: ProcessId | None
    url: str | None
    log: str
    num_restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class StackRecord:
    """The stack of a home; without a supervisor it has been ended, and its ports are remembered."""

    supervisor: ProcessId | None = None
    is_ready: bool = False
    is_ending: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[PartRecord, ...] = ()

    def is_up(self) -> bool:
        """Somebody supervises it."""
        return self.supervisor is not None and self.supervisor.is_alive()


@dataclass(frozen=True)
class StackFile:
    """The file and the lock beside it."""

    home: Path

    @property
    def path(self) -> Path:
        """Where the record lies."""
        return self.home / "stack.json"

    @property
    def logs(self) -> Path:
        """Where the parts write."""
        return self.home / "logs"

    def read(self) -> StackRecord:
        """Read what is known; of a file that cannot be read, nothing is."""
        try:
            body = json.loads(self.path.read_text(encoding="utf-8"))
            return StackRecord(
                supervisor=_process(body["supervisor"]),
                is_ready=body["is_ready"],
                is_ending=body["is_ending"],
                ports=body["ports"],
                parts=tuple(PartRecord(**{**p, "process": _process(p["process"])}) for p in body["parts"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return StackRecord()

    def write(self, record: StackRecord) -> None:
        """Write it whole or not at all."""
        half = self.path.with_suffix(f".{os.getpid()}.half")
        half.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
        half.replace(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to supervise this home's stack; it ends with the process and its forks.

        Raises:
            ConflictError: Another process holds it; the message names it.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "stack.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                supervisor = self.read().supervisor
                who = f"process {supervisor.pid}" if supervisor else "another process"
                raise ConflictError(
                    f"one stack serves a home, got {self.home}, whose stack is up ({who}): `tuneladder status` "
                    "shows it, `tuneladder down` ends it, another --home makes another one"
                ) from None
            yield


def _process(body: Mapping[str, Any] | None) -> ProcessId | None:
    return None if body is None else ProcessId(pid=int(body["pid"]), created=float(body["created"]))
