"""Claims jobs and bundles, has each done in a child, and keeps what it claimed until the child has ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import Any

import structlog

from service.engine.cluster import knock
from service.errors import ConflictError, LeaseLostError, StoreUnavailableError
from service.home import Home
from service.store import JobRecord, JobState, Store, Wish
from service.worker.children import Child, how_it_ended, wait, warm_up
from service.worker.log import JobLog
from service.worker.options import NOT_NOW, Errand, WorkerOptions
from service.worker.patience import keep_trying
from service.worker.preemption import choose_job_to_preempt

MAX_DEATHS = 3  # of a job's processes since its last leg; then it is the job that kills them
CLOSING_S = 90.0  # what a child has for MLflow and for the end of its Ray once its job has ended on record
KILL_AFTER_S = 15.0  # what a child has that was asked to end at once
NOT_NOW_PAUSE_S = 15.0  # before the next claim, where a job could not begin through no fault of its own
MAX_SILENCE_S = 10.0  # between two signs of life
ENDING_LOOK_S = 0.2  # between two looks at children that are to end
WAITING_LOOKS = 50  # jobs at the head of the queue that may ask for a running one's place

log = structlog.get_logger("tuneladder.worker")


class Worker:
    """One worker. `run` returns when it was asked to end and every child has.

    Args:
        options: How it works.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._children: dict[Hashable, Child] = {}
        self._orders, self._signals = Pipe(duplex=False)
        self._num_signals = 0
        self._deadline: float | None = None  # for the children's legs, once the worker is asked to end
        self._next_sign_of_life = 0.0
        self._no_claims_before = 0.0
        self._waiting: set[str] = set()  # jobs that nobody had room for at the last look
        self._store_is_away = False

    def run(self) -> None:
        """Work until a signal asks for the end.

        SIGTERM and Ctrl-C let each job go back into the queue at the end of its leg, within the time of grace; the
        second one ends them at once. A job that goes back goes on from its record.
        """
        options = self._options
        warm_up()
        with keep_trying(Store.open, options.store_url) as store, self._signals_handled():
            log.info("ready", worker=options.name, engine=options.engine, max_jobs=options.max_running_jobs)
            while not self._is_done():
                self._look(store)
                wait(list(self._children.values()), self._orders, self._pause_s())
                while self._orders.poll():
                    self._orders.recv_bytes()
            if not self._store_is_away:
                store.forget_worker(options.name)
        log.info("ended", worker=options.name)

    def _look(self, store: Store) -> None:
        """Do all that is due. A database that is away leaves it for the next look; the children train on."""
        self._end_children()
        try:
            self._settle_ended(store)
            self._renew(store)
            if self._deadline is None:
                self._claim(store)
                self._preempt(store)
            self._give_sign_of_life(store)
        except StoreUnavailableError as error:
            if not self._store_is_away:
                log.warning("the store is away", error=str(error))
            self._store_is_away = True
        else:
            if self._store_is_away:
                log.info("the store is back")
            self._store_is_away = False

    # What was claimed is kept.

    def _renew(self, store: Store) -> None:
        lease_s = self._options.lease_s
        for child in list(self._children.values()):
            now = time.monotonic()
            if child.has_ended or child.ending_since is not None or now - child.renewed_at < lease_s / 3:
                continue
            errand = child.errand
            try:
                if errand.export_id is None:
                    store.renew_lease(errand.job_id, errand.attempt, lease_s)
                else:
                    store.renew_export(errand.export_id, errand.attempt, lease_s=lease_s)
                child.renewed_at = now
            except LeaseLostError:
                self._let_go(store, child)

    def _let_go(self, store: Store, child: Child) -> None:
        """Leave a child whose job has ended its time for the rest; end one whose job is another worker's."""
        child.ending_since = time.monotonic()
        job = store.job(child.errand.job_id)
        if child.errand.export_id is None and job.attempt != child.errand.attempt:
            log.warning("lease lost", job=job.id, attempt=child.errand.attempt, now=job.attempt)
            child.kill()

    def _give_sign_of_life(self, store: Store) -> None:
        if time.monotonic() < self._next_sign_of_life:
            return
        options = self._options
        running = [child.errand.job_id for child in self._children.values() if child.errand.export_id is None]
        detail = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "engine": options.engine,
            "max_running_jobs": options.max_running_jobs,
            "running": running,
            "is_ending": self._deadline is not None,
        }
        store.record_worker(options.name, detail)
        self._next_sign_of_life = time.monotonic() + min(options.lease_s / 3, MAX_SILENCE_S)

    # What is claimed.

    def _claim(self, store: Store) -> None:
        options = self._options
        while self._num_jobs() < options.max_running_jobs and time.monotonic() >= self._no_claims_before:
            job = store.claim_job(
                worker=options.name, lease_s=options.lease_s, max_running_per_owner=options.max_running_per_owner
            )
            if job is None:
                break
            log.info("claimed", job=job.id, name=job.name, owner=job.owner, attempt=job.attempt)
            if job.num_deaths >= MAX_DEATHS:  # it may be the job that takes its workers with it
                self._give_up(store, job, f"its worker was lost, see {self._job_log(job.id).path}")
                continue
            self._start(store, Errand(kind="job", job_id=job.id, attempt=job.attempt))
        if not any(child.errand.export_id is not None for child in self._children.values()):
            export = store.claim_export(worker=options.name, lease_s=options.lease_s)
            if export is not None:
                log.info("claimed", export=export.id, job=export.job_id)
                self._start(
                    store,
                    Errand(kind="export", job_id=export.job_id, attempt=export.attempt, export_id=export.id),
                )

    def _num_jobs(self) -> int:
        return sum(child.errand.export_id is None for child in self._children.values())

    def _start(self, store: Store, errand: Errand) -> None:
        try:
            self._children[errand.key] = Child.start(errand, self._options)
            self._next_sign_of_life = 0.0
        except (OSError, EOFError) as error:  # no memory or no process number is left
            log.error("no process could be started", job=errand.job_id, error=repr(error))
            if errand.export_id is None:
                store.release_job(errand.job_id, errand.attempt, message=f"no process could be started: {error}")
            self._no_claims_before = time.monotonic() + NOT_NOW_PAUSE_S

    def _preempt(self, store: Store) -> None:
        """Have a job of this worker give way, if it is the one that should.

        Only for a job that was waiting at the last look too: else another worker may be about to take it.
        """
        if self._num_jobs() < self._options.max_running_jobs:
            self._waiting = set()
            return
        queued = store.job_rows(states=[JobState.QUEUED], sort="priority", limit=WAITING_LOOKS)
        waiting = sorted((job for job in queued if job.id in self._waiting), key=lambda j: (-j.priority, j.id))
        self._waiting = {job.id for job in queued}
        if not waiting:
            return
        running = store.job_rows(states=[JobState.RUNNING], sort="priority", descending=False, limit=1000)
        chosen = choose_job_to_preempt(
            waiting,
            [job for job in running if job.lease_until is not None],
            max_running_per_owner=self._options.max_running_per_owner,
        )
        if chosen is not None and chosen.worker == self._options.name:
            log.info("gives way", job=chosen.id, priority=chosen.priority, to=waiting[0].id)
            with suppress(ConflictError):  # it has ended in this moment
                store.ask_for(chosen.id, Wish.PREEMPT)

    # What has ended.

    def _settle_ended(self, store: Store) -> None:
        """Say on record what became of the jobs whose process left no word of its own."""
        for key, child in list(self._children.items()):
            if not child.has_ended:
                continue
            code = child.process.exitcode or 0
            if child.errand.export_id is None:
                self._settle(store, child.errand, code)
            elif code:
                self._settle_export(store, child.errand, code)
            log.info("child ended", job=child.errand.job_id, code=code)
            del self._children[key]
            self._next_sign_of_life = 0.0
            child.close()

    def _settle(self, store: Store, errand: Errand, code: int) -> None:
        if code == NOT_NOW:
            self._no_claims_before = time.monotonic() + NOT_NOW_PAUSE_S
        job = store.job(errand.job_id)
        if job.state != JobState.RUNNING or job.attempt != errand.attempt:
            return
        message = self._epitaph(errand, code)
        log.warning("died", job=job.id, attempt=job.attempt, how=how_it_ended(code), num_deaths=job.num_deaths + 1)
        with suppress(LeaseLostError):  # another worker was faster
            self._bury(store, job, message)

    def _bury(self, store: Store, job: JobRecord, message: str) -> None:
        if job.wish is not None and job.wish != Wish.PREEMPT:
            store.release_job(job.id, job.attempt, to=JobState.PAUSED, message=message, died=True)
            if job.wish == Wish.CANCEL:
                store.ask_for(job.id, Wish.CANCEL)
        elif self._cluster_is_away():  # Ray ends the processes whose node it has lost
            message = f"the Ray cluster at {self._options.ray_address} is away; it goes on from its record"
            store.release_job(job.id, job.attempt, message=message)
            self._no_claims_before = time.monotonic() + NOT_NOW_PAUSE_S
        elif job.num_deaths + 1 < MAX_DEATHS:
            store.release_job(job.id, job.attempt, message=f"{message}; it goes on from its record", died=True)
        else:
            self._give_up(store, job, message)

    def _give_up(self, store: Store, job: JobRecord, message: str) -> None:
        why = f"a job's process may die {MAX_DEATHS - 1} times between two legs, this was once more: {message}"
        store.fenced(job.id, job.attempt).fail_job(job.id, why)

    def _settle_export(self, store: Store, errand: Errand, code: int) -> None:
        """Give up a bundle whose processes die; before, its lease ends and a worker claims it again."""
        if errand.attempt < MAX_DEATHS:
            return
        assert errand.export_id is not None
        with suppress(LeaseLostError):  # it had said its word before
            store.finish_export(errand.export_id, errand.attempt, message=self._epitaph(errand, code))

    def _epitaph(self, errand: Errand, code: int) -> str:
        journal = self._job_log(errand.job_id)
        last = journal.last_line()
        words = f" (its last words: {last})" if last else ""
        return f"its process was ended {how_it_ended(code)}{words}, see {journal.path}"

    def _cluster_is_away(self) -> bool:
        if self._options.ray_address is None:
            return False
        try:
            knock(self._options.ray_address)
        except OSError:
            return True
        return False

    def _job_log(self, job_id: str) -> JobLog:
        return JobLog.of(Home(self._options.home).folder, job_id)

    # How it ends.

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        def handle(*_: Any) -> None:
            self._num_signals += 1
            self._signals.send_bytes(b"!")

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_children(self) -> None:
        """Ask children to end: at the end of their legs, then at once, then not at all politely."""
        now = time.monotonic()
        if self._num_signals and self._deadline is None:
            self._deadline = now + self._options.grace_s
            self._next_sign_of_life = 0.0
            log.info("ending", num_children=len(self._children), grace_s=self._options.grace_s)
        if self._num_signals > 1 and self._deadline is not None:
            self._deadline = min(self._deadline, now)
        for child in self._children.values():
            if self._deadline is not None:
                child.halt()
                if now >= self._deadline:
                    child.terminate()
                if now >= self._deadline + KILL_AFTER_S:
                    child.kill()
            if child.ending_since is not None and now - child.ending_since > CLOSING_S:
                child.kill()

    def _is_done(self) -> bool:
        """Asked to end, and no child is left; what the store could not be told of follows from ended leases."""
        if not self._num_signals:
            return False
        return not self._children or (
            self._store_is_away and all(child.has_ended for child in self._children.values())
        )

    def _pause_s(self) -> float:
        pauses = [self._options.poll_s, self._options.lease_s / 6]
        return min(pauses if self._deadline is None else [*pauses, ENDING_LOOK_S])
