"""Ctrl-C and SIGTERM at the wrong moment, kept until the right one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM until the block has ended, which is for what must not be left half done.

    Such are transactions: KeyboardInterrupt would leave an open one to a connection that nobody holds any more,
    and the next writer, which says that the job is paused, would find the database locked. And imports of
    libraries such as torch: where C++ calls Python it may not raise, and the process would abort, cleaning up
    nothing.

    Python runs handlers of signals in the main thread alone; in any other the block is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda received, frame: kept.append(received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # None stands for a handler that Python did not install and cannot install again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for received in kept:
            signal.raise_signal(received)
