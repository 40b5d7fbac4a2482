"""One job in the tracking server, kept like the store: a parent run, and a child run for each trial.

What was logged is on record in the store after it was logged, never before. A process that dies in between leaves
something that is logged and not on record: the next one logs it again, and MLflow takes it for the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import yaml

from service.store import JobRecord, JobState, StageRecord, Store, TrackingRun, TrialChange
from service.tracking import describe
from service.tracking.figures import LR_RANGE_FILE, lr_range_figure
from service.tracking.report import job_report
from service.tracking.server import TrackingServer, is_refusal
from service.tracking.side_by_side import side_by_side

TRIALS_PER_BATCH = 128  # what the process after a killed one logs again at most,
MARK_PERIOD_S = 0.5  # or what was logged in this time: a slow server takes seconds for a trial


class Mirror:
    """Brings the tracking server up to date with the store, from wherever it stands.

    A mirror knows which runs exist: after an error, make another one.

    Args:
        store: The truth.
        job_id: The job.
        server: Where it is to be seen.

    Raises:
        Exception: The server is away.
    """

    def __init__(self, store: Store, job_id: str, server: TrackingServer) -> None:
        self._store = store
        self._job_id = job_id
        self._server = server
        self._runs = server.find_runs(job_id)
        known = {run.trial: run for run in store.tracking_runs(job_id)}
        if any(self._runs.get(trial) != run.run_id for trial, run in known.items()):
            store.forget_tracked(job_id)  # runs were deleted, or this is another server: say everything again
            known = {}
        self._parent = known.get(None)
        self._has_documents = False
        self.helpers_cpu_s = 0.0  # processor time of the threads that log beside the caller's

    def catch_up(
        self,
        *,
        is_last: bool = False,
        on_progress: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Exception]:
        """Log what is on record and not logged yet.

        Args:
            is_last: The job's process ends: what is only known at the end is logged too.
            on_progress: Told how many trials are left, after each batch.
            should_stop: Asked between trials.

        Returns:
            What the server refused, a trial each. They are tried again at the next call.

        Raises:
            Exception: The server is away. What was logged until then is on record.
        """
        job = self._store.job(self._job_id)
        if job.plan is None and not is_last:
            return []  # the plan is part of what a job's run says first
        parent = self._parent = self._parent or self._open_job(job)
        stages = self._store.stages(job.id)
        refusals: list[Exception] = []
        last, num_logged = -1, 0
        while changes := self._store.untracked(job.id, after=last, limit=TRIALS_PER_BATCH):
            last = changes[-1].trial.number
            done: list[TrackingRun] = []
            marked_at = time.monotonic()
            try:
                for outcome in self._log_trials(job, changes, stages, parent.run_id, should_stop):
                    if isinstance(outcome, TrackingRun):
                        done.append(outcome)
                        num_logged += 1
                    elif is_refusal(outcome):
                        refusals.append(outcome)
                    else:
                        raise outcome
                    if time.monotonic() - marked_at > MARK_PERIOD_S:
                        self._store.record_tracked(job.id, done)
                        done, marked_at = [], time.monotonic()
            finally:
                self._store.record_tracked(job.id, done)
            if should_stop():
                return refusals
            if on_progress is not None:
                on_progress(self._store.num_untracked(job.id))
        job = self._store.job(job.id)
        if num_logged or is_last or parent.logged_state != job.state or not self._has_documents:
            self._log_job(job, parent, is_last=is_last)
        return refusals

    def _open_job(self, job: JobRecord) -> TrackingRun:
        run_id = self._runs.get(None)
        if run_id is None:
            run_id = self._runs[None] = self._server.create_run(
                f"{job.name} {job.id}",
                start_ms=describe.milliseconds(job.started_at or job.created_at),
                tags=describe.job_tags(job),
            )
        self._server.log(run_id, params=describe.job_params(job), tags=describe.job_tags(job))
        run = TrackingRun(trial=None, run_id=run_id, logged_state=JobState.RUNNING)  # as MLflow makes a run
        self._store.record_tracked(job.id, [run])
        return run

    def _log_trials(
        self,
        job: JobRecord,
        changes: Sequence[TrialChange],
        stages: Sequence[StageRecord],
        parent: str,
        should_stop: Callable[[], bool],
    ) -> Iterator[TrackingRun | Exception]:
        """Log trials, as many at a time as the server takes, and yield what came of each."""

        def log(change: TrialChange) -> tuple[TrackingRun, float]:
            began = time.thread_time()
            run = self._log_trial(job, change, stages, parent)
            return run, time.thread_time() - began

        with closing(
            side_by_side(log, changes, num_threads=self._server.requests_at_once, should_stop=should_stop)
        ) as outcomes:
            for _, outcome in outcomes:
                if isinstance(outcome, Exception):
                    yield outcome
                else:
                    run, cpu_s = outcome
                    if self._server.requests_at_once > 1:
                        self.helpers_cpu_s += cpu_s
                    yield run

    def _log_trial(
        self, job: JobRecord, change: TrialChange, stages: Sequence[StageRecord], parent: str
    ) -> TrackingRun:
        trial = change.trial
        run_id = self._runs.get(trial.number)
        if run_id is None:
            run_id = self._runs[trial.number] = self._server.create_run(
                f"trial {trial.number}",
                start_ms=describe.milliseconds(trial.created_at),
                tags=describe.trial_tags(job, trial, stages),
                parent=parent,
            )
        is_first = change.run is None or change.run.logged_state is None
        tags = describe.trial_state_tags(trial)
        if trial.ended_at is not None:
            tags |= describe.health_tags(self._store.measurements(job.id, trial.number))
        self._server.log(
            run_id,
            points=[*describe.epoch_points(change.measurements), *describe.trial_points(trial)],
            params=describe.trial_params(job, trial) if is_first else None,
            tags=tags,
        )
        if trial.ended_at is not None:
            ended = describe.milliseconds(trial.ended_at)
            self._server.set_status(run_id, describe.TRIAL_STATUS[trial.state], end_ms=ended)
        return TrackingRun(trial=trial.number, run_id=run_id, logged_epochs=trial.epochs, logged_state=trial.state)

    def _log_job(self, job: JobRecord, parent: TrackingRun, *, is_last: bool) -> None:
        trials = self._store.trials(job.id)
        curve = describe.incumbent_points(trials, job.mode)
        new = curve[parent.logged_epochs :]
        tags = describe.job_state_tags(job)
        if parent.logged_state != job.state or is_last:
            new += describe.test_points(self._store.test_read(job.id))
            new += describe.importance_points(job)
            tags |= describe.export_tags(self._store.exports(job.id))
        self._server.log(parent.run_id, points=new, tags=tags)
        if parent.logged_state != job.state:
            ended = None if job.ended_at is None else describe.milliseconds(job.ended_at)
            self._server.set_status(parent.run_id, describe.JOB_STATUS[job.state], end_ms=ended)
            for trial in trials:
                if not trial.state.is_final and trial.number in self._runs:
                    status = describe.HALTED_STATUS.get(job.state, describe.TRIAL_STATUS[trial.state])
                    self._server.set_status(self._runs[trial.number], status, end_ms=None)
        self._parent = replace(parent, logged_epochs=len(curve), logged_state=job.state)
        self._store.record_tracked(job.id, [self._parent])
        # Documents come last: where artifacts cannot be kept, everything else is there.
        if not self._has_documents:
            self._server.log_text(parent.run_id, yaml.safe_dump(dict(job.spec), sort_keys=False), "spec.yaml")
            self._server.log_text(parent.run_id, json.dumps(job.plan, indent=2), "plan.json")
            self._log_probes(job.id, parent.run_id)
            self._has_documents = True
        if is_last:
            self._server.log_text(parent.run_id, describe.trials_csv(trials), "trials.csv")
            report = job_report(job, self._store.stages(job.id), trials)
            self._server.log_text(parent.run_id, report, "report.md")
            if job.result is not None:
                self._server.log_text(parent.run_id, json.dumps(job.result, indent=2), "result.json")

    def _log_probes(self, job_id: str, run_id: str) -> None:
        """Log what was found out before the search: documents, and the range test's curves and figure."""
        probes = self._store.probes(job_id)
        for probe in probes:
            document = {"report": probe.report, "message": probe.message}
            self._server.log_text(run_id, json.dumps(document, indent=2), f"probes/{probe.key}.json")
        tests = [probe for probe in probes if probe.kind == "lr_range" and probe.report is not None]
        if tests:
            self._server.log(run_id, points=describe.lr_range_points(tests))
            self._server.log_figure(
                run_id, lr_range_figure([probe.report or {} for probe in tests]), LR_RANGE_FILE
            )
