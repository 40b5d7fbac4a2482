"""Starts the parts of a stack, starts again what dies, and ends them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.errors import TuneladderError
from service.stack.parts import Part
from service.stack.processes import ProcessId, end_group, start_part
from service.stack.record import PartRecord, PartState, StackFile, StackRecord
from service.worker.log import bound_file

LOOK_S = 0.25
MAX_LOG_BYTES = 5 * 2**20  # of a part's log, and of what was before
HEALTH_LOOK_S = 1.0  # between two questions to a part that does not serve yet
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0  # before a part that died starts again; doubled each time
CALM_S = 60.0  # a part that has run so long is taken to be well
MAX_EARLY_DEATHS = 3  # of a part that has never served: then it is no accident
TAIL_LINES = 15

Say = Callable[[str], None]


@dataclass
class _Watched:
    """A part and the process that is it now."""

    part: Part
    process: subprocess.Popen[bytes] | None = None
    id: ProcessId | None = None
    state: PartState = "starting"
    started_at: float = 0.0
    next_start: float = 0.0
    next_look: float = 0.0
    num_restarts: int = 0
    num_deaths: int = 0  # since it was last well
    has_served: bool = False


@dataclass
class Supervisor:
    """Watches over the parts of one home's stack.

    Args:
        file: Where it says what it knows.
        parts: In the order in which they start.
        ports: For the record.
        say: Told what happens.
    """

    file: StackFile
    parts: Sequence[Part]
    ports: Mapping[str, int]
    say: Say
    _watched: list[_Watched] = field(default_factory=list, init=False)
    _num_signals: int = field(default=0, init=False)
    _is_ready: bool = field(default=False, init=False)
    _self: ProcessId | None = field(default=None, init=False)
    _written: StackRecord | None = field(default=None, init=False)

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run the parts until a signal asks for the end.

        Args:
            on_ready: Called once, when every part serves.

        Raises:
            TuneladderError: A part cannot be started; the others have been ended.
        """
        with self._signals_counted():
            self._watched = [_Watched(part) for part in self.parts]
            try:
                while not self._num_signals:
                    for watched in self._watched:
                        self._look_after(watched)
                    if not self._is_ready and all(watched.has_served for watched in self._watched):
                        self._is_ready = True
                        self._write()
                        on_ready()
                    self._write()
                    time.sleep(LOOK_S)
            finally:
                self._end()

    def _look_after(self, watched: _Watched) -> None:
        now = time.monotonic()
        bound_file(self._log(watched.part), MAX_LOG_BYTES)
        if watched.process is None:
            if now >= watched.next_start:
                self._start(watched)
            return
        code = watched.process.poll()
        if code is not None:
            self._bury(watched, code)
        elif watched.state == "starting" and now >= watched.next_look:
            watched.next_look = now + HEALTH_LOOK_S
            if watched.part.serves():
                watched.state, watched.has_served = "running", True
                self.say(f"{watched.part.name} is up{f': {watched.part.url}' if watched.part.url else ''}")
        elif watched.num_deaths and now - watched.started_at > CALM_S:
            watched.num_deaths = 0

    def _start(self, watched: _Watched) -> None:
        part = watched.part
        watched.process = start_part(part.command, environment=part.environment, log=self._log(part))
        watched.id = ProcessId.of(watched.process.pid)
        watched.state, watched.started_at = "starting", time.monotonic()

    def _bury(self, watched: _Watched, code: int) -> None:
        if watched.id is not None:
            end_group(watched.id, grace_s=2.0)  # what it has left behind
        watched.process, watched.state = None, "waiting"
        watched.num_deaths += 1
        watched.num_restarts += 1
        name, log = watched.part.name, self._log(watched.part)
        if not watched.has_served and watched.num_deaths >= MAX_EARLY_DEATHS:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            raise TuneladderError(f"{name} must start, it ended {watched.num_deaths} times, see {log}:\n{tail}")
        pause_s = min(FIRST_PAUSE_S * 2 ** (watched.num_deaths - 1), MAX_PAUSE_S)
        watched.next_start = time.monotonic() + pause_s
        self.say(f"{name} has ended with code {code}, see {log}: it starts again in {pause_s:g} s")

    def _end(self) -> None:
        """End the parts, the last one first; a second signal leaves none of them time."""
        for watched in reversed(self._watched):
            process, watched.process = watched.process, None
            if process is None or watched.id is None:
                watched.state = "ended"
                continue
            self.say(f"ending {watched.part.name}")
            self._write()
            self._end_one(process, watched.id, watched.part.grace_s)
            watched.state = "ended"
        self.file.write(StackRecord(ports=self.ports))

    def _end_one(self, process: subprocess.Popen[bytes], leader: ProcessId, grace_s: float) -> None:
        signals_before, deadline = self._num_signals, time.monotonic() + grace_s
        process.terminate()  # the part itself first: it ends what it has started
        while process.poll() is None and time.monotonic() < deadline:
            if self._num_signals > signals_before:
                signals_before = self._num_signals
                process.terminate()
            time.sleep(LOOK_S)
        end_group(leader, grace_s=2.0)
        process.wait()

    def _log(self, part: Part) -> Path:
        return self.file.logs / f"{part.name}.log"

    def _write(self) -> None:
        """Put on record what has changed."""
        parts = [
            PartRecord(
                name=watched.part.name,
                state=watched.state,
                process=watched.id,
                url=watched.part.url,
                log=str(self._log(watched.part)),
                num_restarts=watched.num_restarts,
            )
            for watched in self._watched
        ]
        record = StackRecord(
            supervisor=self._self,
            is_ready=self._is_ready,
            is_ending=bool(self._num_signals),
            ports=self.ports,
            parts=tuple(parts),
        )
        if record != self._written:
            self.file.write(record)
            self._written = record

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        def count(*_: Any) -> None:
            self._num_signals += 1

        self._self = ProcessId.of(os.getpid())
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, count) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
