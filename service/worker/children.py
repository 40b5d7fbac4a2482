"""A worker's children: one process for each job or bundle, forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess

from service.errors import TuneladderError
from service.worker.options import Errand, WorkerOptions

# A job starts five seconds sooner, and shares the libraries' memory with its neighbours. The modules are imported
# by name, there: this process stays small.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOAD = ["__main__", "service.worker.warm"]


def warm_up() -> None:
    """Start the process that children are forked from, and wait until it has imported everything.

    Raises:
        TuneladderError: It could not.
    """
    _CONTEXT.set_forkserver_preload(_PRELOAD)
    first = _CONTEXT.Process(target=_check_warm, name="tuneladder-warm-up")
    try:
        first.start()
        first.join()
    except (OSError, EOFError) as error:
        raise TuneladderError(f"the process that jobs are forked from must start, it ends: {error!r}") from error
    if first.exitcode:
        raise TuneladderError(
            "the process that jobs are forked from must have imported them, see the error above: check the "
            "installation with `tuneladder doctor`"
        )


def _check_warm() -> None:
    if "service.worker.warm" not in sys.modules:
        import service.worker.warm  # noqa: F401  raises what the fork server has passed over


@dataclass(eq=False)
class Child:
    """One running process, and what it is busy with."""

    errand: Errand
    process: ForkServerProcess
    orders: connection.Connection
    renewed_at: float  # by the monotonic clock, as the next one
    ending_since: float | None = None  # its errand has ended on record, or it is not its any more
    is_halting: bool = False
    is_terminated: bool = False

    @classmethod
    def start(cls, errand: Errand, options: WorkerOptions) -> Child:
        """Start a process with an errand that has just been claimed."""
        receiver, orders = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(
            target=_carry_out, args=(errand, options, receiver), name=f"tuneladder-{errand.kind}-{errand.job_id}"
        )
        process.start()
        receiver.close()
        return cls(errand=errand, process=process, orders=orders, renewed_at=time.monotonic())

    @property
    def has_ended(self) -> bool:
        """Its exit code is known."""
        return self.process.exitcode is not None

    def halt(self) -> None:
        """Ask it to put its job back into the queue at the end of the leg."""
        if not self.is_halting:
            self.is_halting = True
            with suppress(OSError):  # it has ended
                self.orders.send_bytes(b"halt")

    def terminate(self) -> None:
        """Ask it to put its job back into the queue at once."""
        if not self.is_terminated:
            self.is_terminated = True
            self.process.terminate()

    def kill(self) -> None:
        """End it; Linux ends its Ray with it."""
        self.process.kill()

    def close(self) -> None:
        """Let go of what belonged to it."""
        self.orders.close()
        self.process.close()


def how_it_ended(code: int) -> str:
    """Say in a few words how a process ended that left no word of its own."""
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    hint = ", as where memory is short" if name == "SIGKILL" else ""
    return f"by {name}{hint}"


def wait(children: Sequence[Child], wake_up: connection.Connection, timeout_s: float) -> None:
    """Wait until a child ends, somebody writes to the pipe, or time is over."""
    running = [child.process.sentinel for child in children if not child.has_ended]
    connection.wait([wake_up, *running], timeout_s)


def _carry_out(errand: Errand, options: WorkerOptions, orders: connection.Connection) -> None:
    from service.worker.child import carry_out  # torch and all: in the child alone

    carry_out(errand, options, orders)
