"""What a child of a worker does: one job, from where its record stands, or one bundle."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from service.processes import die_with_parent
from service.store import Store
from service.worker.attempt import Attempt, TerminatedError, say
from service.worker.bundle import write_export
from service.worker.log import JobLog
from service.worker.options import DIED, Errand, WorkerOptions
from service.worker.patience import keep_trying

ORPHANED = 70


def carry_out(errand: Errand, options: WorkerOptions, orders: Connection) -> None:
    """Do the errand and end this process; the exit code says what came of it (`service.worker.outcome`).

    Args:
        errand: The job or the bundle.
        options: Of the worker.
        orders: Anything that comes from it asks for an end after the present leg; its end is the worker's end.
    """
    die_with_parent()
    os.setsid()  # Ctrl-C in a terminal is for the worker, which then asks its children
    signal.signal(signal.SIGTERM, _terminate)
    JobLog.of(options.home, errand.job_id).take_output()
    faulthandler.enable()
    halt = threading.Event()
    threading.Thread(target=_listen, args=(orders, halt), name="orders", daemon=True).start()
    try:
        with keep_trying(Store.open, options.store_url) as store:
            if errand.kind == "job":
                code = Attempt(store, errand, options, halt).run()
            else:
                code = write_export(store, errand, options)
    except TerminatedError:
        say("ended before it began")
        code = DIED
    sys.exit(code)


def _terminate(*_: Any) -> None:
    raise TerminatedError


def _listen(orders: Connection, halt: threading.Event) -> None:
    try:
        while orders.recv_bytes():
            halt.set()
    except (EOFError, OSError):
        os._exit(ORPHANED)  # the worker is gone, and its leases end
