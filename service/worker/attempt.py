"""One attempt at a job: from its claim to what becomes of it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from service.errors import ConflictError, EngineLostError, JobFailedError, LeaseLostError, TuneladderError
from service.home import Home
from service.job_run import HaltError, JobRun
from service.plans import find_starts
from service.preparation import prepare, spec_on_record
from service.seats import Seats
from service.store import JobLock, JobRecord, JobState, Store, Wish
from service.worker.log import JobLog
from service.worker.options import DIED, DONE, NOT_NOW, Errand, WorkerOptions
from service.worker.patience import patient

LOCK_PATIENCE_S = 120.0  # the attempt before may still be writing to MLflow; it holds the lock for less than this


class WishError(HaltError):
    """Somebody wishes the job to stop at the end of this leg."""

    def __init__(self, wish: Wish, why: str) -> None:
        super().__init__(why)
        self.wish = wish


class LockedError(Exception):
    """Another process on this machine runs the job, as `tuneladder run` may."""


class TerminatedError(BaseException):
    """This process was asked to end at once."""


class Attempt:
    """One attempt at a job, in a process of its own.

    Args:
        store: The job is in it.
        errand: Which job, and the number of its claim.
        options: Of the worker.
        halt: Set when the job is to go back into the queue at the end of the leg.
    """

    def __init__(self, store: Store, errand: Errand, options: WorkerOptions, halt: threading.Event) -> None:
        self._store = patient(store.fenced(errand.job_id, errand.attempt))
        self._job_id, self._number = errand.job_id, errand.attempt
        self._options, self._home = options, Home(options.home)
        self._log = JobLog.of(options.home, errand.job_id)
        self._halt = halt
        self._is_set_aside = False

    def run(self) -> int:
        """Run the job to its end, or to the end of the leg at which somebody wants it to stop.

        Returns:
            The process's exit code.
        """
        try:
            self._run(self._store.job(self._job_id))
        except (LeaseLostError, JobFailedError, WishError, TerminatedError, KeyboardInterrupt) as error:
            say(f"{type(error).__name__}: {error}")
        except LockedError as error:
            say(str(error))
            return NOT_NOW
        except EngineLostError as error:
            say(str(error))
            return NOT_NOW if self._options.ray_address else DIED
        except Exception:
            traceback.print_exc()
        return DONE

    def _run(self, job: JobRecord) -> None:
        say(f"--- {job.name}: attempt {self._number} on {self._options.name}")
        try:
            spec = spec_on_record(job)
            self._at_leg_end()
            with _locked(self._home, job.id), Seats(spec, self._options.run_options(), self._home) as seats:
                seats.boot()
                prepared = prepare(
                    spec, seats, find_starts=lambda resolved: find_starts(resolved, self._store, job), say=say
                )
                JobRun(
                    store=self._store,
                    home=self._home,
                    job=job,
                    prepared=prepared,
                    tracking=self._options.tracking,
                    set_aside=self._set_aside,
                    at_leg_end=self._at_leg_end,
                ).carry_out(resumed=job.plan is not None, on_start=None, observer=None, say=say)
        except BaseException as error:
            self._set_aside(error)
            raise

    def _at_leg_end(self) -> None:
        """Look whether somebody wants the job to stop here, or has taken it."""
        self._log.bound()
        job = self._store.job(self._job_id)
        if (job.attempt, job.state) != (self._number, JobState.RUNNING):
            raise LeaseLostError(
                f"a job is run by the attempt that claimed it last, got attempt {self._number} of job {job.id}, "
                f"which is {job.state} at attempt {job.attempt}: this process ends"
            )
        if job.wish is not None:
            raise WishError(job.wish, _WHY[job.wish])
        if self._halt.is_set():
            raise WishError(Wish.PREEMPT, "its worker ends; another one goes on with it")

    def _set_aside(self, error: BaseException) -> None:
        """Put on record what becomes of the job, once; a worker does it for a process that died."""
        if self._is_set_aside or isinstance(error, LeaseLostError | JobFailedError):
            return
        self._is_set_aside = True
        store, job_id, number = self._store, self._job_id, self._number
        match error:
            case WishError(wish=Wish.CANCEL):
                store.cancel_job(job_id)
            case WishError(wish=Wish.PAUSE):
                store.release_job(job_id, number, to=JobState.PAUSED, message=str(error))
            case WishError() | LockedError():
                store.release_job(job_id, number, to=JobState.QUEUED, message=str(error))
            case TerminatedError() | KeyboardInterrupt():
                message = "its worker ended within a leg; another one goes on with it"
                store.release_job(job_id, number, to=JobState.QUEUED, message=message)
            case EngineLostError() if self._options.ray_address:
                store.release_job(job_id, number, to=JobState.QUEUED, message=str(error))
            case EngineLostError():
                pass  # as if this process had died: not without end, as it may be the job that kills its Ray
            case _:
                store.fail_job(job_id, last_line(error))


_WHY = {
    Wish.PAUSE: "paused as asked, at the end of a leg",
    Wish.CANCEL: "cancelled as asked, at the end of a leg",
    Wish.PREEMPT: "gave way to a job of higher priority",
}


@contextmanager
def _locked(home: Home, job_id: str) -> Iterator[None]:
    """Hold the job's lock, once the process before has let it go."""
    waiting = Retrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_delay(LOCK_PATIENCE_S),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    lock = JobLock(home.folder, job_id)
    try:
        waiting(lock.acquire)
    except ConflictError as error:
        raise LockedError(str(error)) from None
    try:
        yield
    finally:
        lock.release()


def say(text: str) -> None:
    """Write a line to the log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  standard error is the job's log


def last_line(error: BaseException) -> str:
    """Say in one line what went wrong; the whole of it is in the log."""
    if isinstance(error, TuneladderError):
        return str(error)
    lines = [line.strip() for line in "".join(traceback.format_exception_only(error)).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)
