"""A process that has imported what slots need, and of which each slot gets a fork.

torch and Lightning take five seconds of a core to import, and the slots of a machine share its cores. So a driver
starts this process beside Ray. It imports once, takes the job's context once, and gives each slot a fork of itself
that trains the slot's legs: ready at once, with the context in memory that is shared until it is written to, which
nobody does.

A fork ends with its slot, and with the server; the server ends with the driver. The protocol is pickled messages
on a Unix socket in a folder that only this person can read.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from service.engine.execution import load_function
from service.importing import collector_paused
from service.processes import die_with_parent

_COMMAND = f"import sys; from {__name__} import serve; serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))"


@dataclass(frozen=True)
class Briefing:
    """What the server hands down to its forks."""

    import_path: tuple[str, ...]  # the driver's sys.path
    function: bytes | str  # the leg function, pickled, or its import path
    context: bytes  # pickled


@dataclass(frozen=True)
class Request:
    """What a slot asks its fork for: a call of `call(function, context, *arguments)`."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]


class ForkServer:
    """The server, for the driver. Starting it takes no time; closing it ends it and its forks.

    Args:
        module: Imported at once, with all that it imports.
        log: File that the server and its forks write to, if they say anything.
    """

    def __init__(self, module: str, *, log: Path) -> None:
        self._folder = tempfile.mkdtemp(prefix="tuneladder-")  # mode 0700; a socket's path must be short
        self.address = str(Path(self._folder) / "fork-server")
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal reaches the driver, which ends its slots in order.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, self.address, module, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def brief(self, function: bytes | str, context: bytes) -> None:
        """Hand over what the forks work with; waits for the server's imports.

        Raises:
            EOFError: The server is gone; says what its log ends with.
        """
        try:
            with _connect(self.address, self._process) as connection:
                connection.send(Briefing(tuple(sys.path), function, context))
                connection.recv()
        except (EOFError, OSError):
            code = self._process.wait()  # it closes its socket before it says why
            said = self._log.read_text(errors="replace").splitlines()
            raise EOFError(f"it ended with code {code}, {self._log} ends with {said[-1:]}") from None

    def close(self) -> None:
        """End the server and its forks. May be called twice."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Fork:
    """A fork of the server, for the slot that it works for; ends when this object is closed or its process ends.

    Args:
        address: Of the server, which has been briefed.

    Raises:
        OSError: No server listens there.
    """

    def __init__(self, address: str) -> None:
        self._connection = Client(address, "AF_UNIX")
        self._connection.send(dict(os.environ))

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Have the fork call `call(function, context, *arguments)` and give what it returns.

        Raises:
            EOFError: The fork's process has ended.
            OSError: The fork's process has ended.
        """
        self._connection.send(Request(call, arguments))
        return self._connection.recv()

    def close(self) -> None:
        """End the fork."""
        self._connection.close()


def _connect(address: str, server: subprocess.Popen[bytes]) -> Connection:
    """Connect to a server that was started a moment ago."""
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(address, "AF_UNIX")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=0.01)
            raise EOFError


def serve(address: str, module: str, parent: int) -> None:
    """Be the server, until the driver ends it or is gone.

    Args:
        address: Of the socket.
        module: To import.
        parent: The driver's process.
    """
    signal.signal(signal.SIGTERM, partial(_leave, str(Path(address).parent)))
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)  # the driver is gone already
    with Listener(address, "AF_UNIX", backlog=128) as listener:
        with collector_paused():
            importlib.import_module(module)
        function = context = None
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that end are forgotten
        while True:
            with listener.accept() as connection:
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    continue  # a slot that has ended in this moment
                if isinstance(message, Briefing):
                    sys.path.extend(path for path in message.import_path if path not in sys.path)
                    with collector_paused():
                        function, context = load_function(message.function), pickle.loads(message.context)
                    connection.send(None)
                elif os.fork() == 0:
                    try:
                        _work(connection, message, function, context)
                    except BaseException:
                        traceback.print_exc()
                    finally:
                        sys.stderr.flush()
                        os._exit(0)  # whatever happens: a fork never comes back to the server's loop


def _leave(folder: str, *_: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _work(connection: Connection, environment: Mapping[str, str], function: Any, context: Any) -> None:
    """Be a fork: answer requests until the slot is gone."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with, args=(connection,), name="slot-watch", daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            request: Request = connection.recv()
            answer = request.call(function, context, *request.arguments)
            sys.stdout.flush()
            connection.send(answer)


def _end_with(connection: Connection) -> None:
    """End this process when the other end of a connection does, also in the middle of a leg."""
    hangup = select.poll()
    hangup.register(connection.fileno(), select.POLLRDHUP | select.POLLHUP)
    hangup.poll()
    os._exit(0)
