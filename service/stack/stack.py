"""The whole service on one machine: up and down."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.errors import TuneladderError
from service.settings import Settings
from service.stack.access import Access, grant_access, withdraw_default
from service.stack.parts import make_parts
from service.stack.ports import claim_ports
from service.stack.processes import ProcessId, end_group
from service.stack.record import StackFile, StackRecord
from service.stack.supervisor import LOOK_S, TAIL_LINES, Say, Supervisor

PATIENCE_S = 180.0  # for parts that import much on a slow machine
DOWN_MARGIN_S = 90.0  # beside the time of grace of the worker


@dataclass(frozen=True, kw_only=True)
class Up:
    """What a person needs to know of a stack that is up."""

    home: Path
    urls: dict[str, str]
    data_roots: tuple[Path, ...]
    access: Access


def up(
    settings: Settings, *, port: int | None = None, detach: bool = False, say: Say, on_ready: Callable[[Up], None]
) -> None:
    """Start the parts and watch over them until a signal asks for the end; or let another process do so.

    Args:
        settings: Of the parts.
        port: Of the API, if it has to be that one.
        detach: Return when the parts serve, and leave them running.
        say: Told what happens.
        on_ready: Told when every part serves.

    Raises:
        ConflictError: A stack of this home is up.
        InvalidSettingsError: The port is taken.
        TuneladderError: A part cannot be started; its log says why.
    """
    file = StackFile(settings.places.folder)
    with file.locked():
        before = file.read()
        _end_leftovers(before, say)
        with claim_ports(settings, before.ports, port=port) as ports:
            parts = make_parts(settings, ports)
            access = grant_access(settings.store_url(), f"http://127.0.0.1:{ports['api']}")
            told = Up(
                home=settings.home,
                urls={part.name: part.url for part in parts if part.url},
                data_roots=settings.data_roots,
                access=access,
            )
            supervisor = Supervisor(file=file, parts=parts, ports=ports, say=say)
            if not detach:
                supervisor.run(on_ready=lambda: on_ready(told))
                withdraw_default()
            elif child := os.fork():  # one thread so far
                _wait_until_ready(file, child)
                on_ready(told)
            else:
                os._exit(_supervise_alone(supervisor))


def down(home: Path, *, grace_s: float, say: Say) -> bool:
    """End the stack of a home, and nothing but the processes that `up` has started.

    Args:
        home: The folder.
        grace_s: What jobs have for their legs, as the stack's worker was told.
        say: Told what happens.

    Returns:
        Whether anything was running.

    Raises:
        TuneladderError: The supervisor does not end.
    """
    file = StackFile(home)
    record = file.read()
    was_up = record.is_up()
    if was_up and record.supervisor is not None:
        say(f"ending the stack of {home}: jobs go back into the queue at the end of their legs")
        with suppress(ProcessLookupError):
            os.kill(record.supervisor.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s + DOWN_MARGIN_S
        while record.supervisor.is_alive():
            if time.monotonic() > deadline:
                raise TuneladderError(
                    f"the stack must end within {grace_s + DOWN_MARGIN_S:g} s, process "
                    f"{record.supervisor.pid} has not: see {file.logs}, and run tuneladder down again"
                )
            time.sleep(LOOK_S)
        record = file.read()
    had_leftovers = _end_leftovers(record, say)
    if was_up or had_leftovers:
        file.write(StackRecord(ports=record.ports))
    return was_up or had_leftovers


def _end_leftovers(record: StackRecord, say: Say) -> bool:
    """End the parts of a stack whose supervisor was killed."""
    found = False
    for part in record.parts:
        if part.process is not None and part.process.group():
            found = True
            say(f"ending {part.name}, left behind by a stack that was killed")
            end_group(part.process, grace_s=10.0)
    return found


def _supervise_alone(supervisor: Supervisor) -> int:
    """Be the process that `up --detach` leaves behind; returns its exit code."""
    _leave_terminal(supervisor.file)
    try:
        supervisor.run(on_ready=lambda: None)
        withdraw_default()
    except TuneladderError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _leave_terminal(file: StackFile) -> None:
    os.setsid()
    file.logs.mkdir(parents=True, exist_ok=True)
    output = os.open(file.logs / "stack.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _wait_until_ready(file: StackFile, child: int) -> None:
    """Wait for the process that supervises; where it ends, say what it said."""
    supervisor = ProcessId.of(child)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            said = (file.logs / "stack.log").read_text(errors="replace").splitlines()
            raise TuneladderError("\n".join(["the stack has ended:", *said[-2 * TAIL_LINES :]]))
        record = file.read()
        if record.supervisor == supervisor and record.is_ready:
            return
        time.sleep(LOOK_S)
    raise TuneladderError(
        f"every part must serve within {PATIENCE_S:g} s, they do not yet: tuneladder status shows them, their "
        f"logs are in {file.logs}"
    )
