"""Follows a job's store behind the training, in a thread of its own, and never disturbs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from service.errors import TuneladderError
from service.store import Store
from service.tracking.mirror import Mirror
from service.tracking.server import TrackingServer

MAX_BACKOFF_S = 30.0
MAX_SHARE = 0.2  # of one core for following, so that training keeps the machine, as long as
MAX_PAUSE_S = 10.0  # the runs are not older than this
MAX_ERRORS = 10  # different ones that are kept for the report


@dataclass(frozen=True, kw_only=True)
class TrackingReport:
    """How the tracking server stands when the follower stops."""

    is_complete: bool  # all that is on record is logged
    num_left: int  # trials of which something is not logged
    errors: tuple[str, ...]  # different ones, oldest first; harmless where it is complete

    @property
    def warning(self) -> str | None:
        """What a person should know; None where everything is logged."""
        if self.is_complete:
            return None
        why = self.errors[-1] if self.errors else "the job ended before it was done"
        return f"MLflow is behind the job by {self.num_left} trials ({why}). The results are safe in the store."


class MlflowFollower:
    """Logs one job to MLflow while it runs.

    Errors never reach the caller: they are tried again, with growing pauses, and end up in the report. A follower
    that died at any point is continued by the next one, in this process or another.

    Args:
        store: The store, or its URL; the follower opens a connection of its own.
        job_id: The job.
        tracking_uri: Of the MLflow server, or `sqlite:///...` of its database.
        experiment: Its name in MLflow; made where it does not exist.
        artifacts: Where a new experiment keeps artifacts, as a URI; None leaves it to the server.
        interval_s: Shortest pause between two looks into the store; they become rarer where one takes long.
    """

    def __init__(
        self,
        store: Store | str,
        job_id: str,
        *,
        tracking_uri: str,
        experiment: str,
        artifacts: str | None = None,
        interval_s: float = 1.0,
    ) -> None:
        self._store_url = store if isinstance(store, str) else store.url
        self._job_id = job_id
        self._target = (tracking_uri, experiment, artifacts)
        self._interval_s = interval_s
        self._ending = threading.Event()  # log what is left, then end
        self._abandoned = threading.Event()  # end as soon as possible
        self._is_complete = False
        self._errors: list[str] = []
        self._on_progress: Callable[[int], None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"mlflow-{job_id}", daemon=True)

    def start(self) -> Self:
        """Begin to follow; nothing happens where it has begun."""
        if self._thread.ident is None:
            self._thread.start()
        return self

    def stop(
        self,
        *,
        flush: bool = True,
        timeout_s: float = 60.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> TrackingReport:
        """End, and say how far it came. May be called again, and without `start`.

        Args:
            flush: Log what is left first. Call it when the job's last word is on record.
            timeout_s: Leave what is left after this time.
            on_progress: Told how many trials are left, from the follower's thread.
        """
        self._on_progress = on_progress
        self._ending.set()
        if not flush:
            self._abandoned.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s if flush else 0)
            self._abandoned.set()
            self._thread.join(1.0)  # a request that hangs is left to the daemon thread
        with Store.open(self._store_url) as store:
            num_left = store.num_untracked(self._job_id)
        return TrackingReport(is_complete=self._is_complete, num_left=num_left, errors=tuple(self._errors))

    def _run(self) -> None:
        try:
            with Store.open(self._store_url) as store:
                self._follow(store)
        except Exception as error:
            self._keep(error)

    def _follow(self, store: Store) -> None:
        mirror: Mirror | None = None
        pause_s = self._interval_s
        while not self._abandoned.is_set():
            is_last = self._ending.is_set()
            try:
                if mirror is None:
                    mirror = Mirror(store, self._job_id, TrackingServer.connect(*self._target))
                began_s = time.thread_time() + mirror.helpers_cpu_s
                refusals = mirror.catch_up(
                    is_last=is_last, on_progress=self._report, should_stop=self._abandoned.is_set
                )
            except TuneladderError:
                raise  # the store's own word, such as a job that is not there: no server would help
            except Exception as error:
                self._keep(error)
                mirror = None
                pause_s = min(2 * pause_s, MAX_BACKOFF_S)
            else:
                for refusal in refusals:
                    self._keep(refusal)
                spent_s = time.thread_time() + mirror.helpers_cpu_s - began_s
                wanted = spent_s * (1 / MAX_SHARE - 1)
                pause_s = max(self._interval_s, min(wanted, MAX_PAUSE_S))
                if is_last:
                    self._is_complete = not refusals and not self._abandoned.is_set()
                    return
            self._pause(pause_s, was_ending=is_last)

    def _pause(self, pause_s: float, *, was_ending: bool) -> None:
        """Wait, but not past the news that the job has ended."""
        (self._abandoned if was_ending else self._ending).wait(pause_s)

    def _report(self, num_left: int) -> None:
        if self._on_progress is not None:
            self._on_progress(num_left)

    def _keep(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        if text not in self._errors and len(self._errors) < MAX_ERRORS:
            self._errors.append(text)
