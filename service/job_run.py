"""One run of a job, from its plan to its bundle."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.cohorts import FusedShapes
from service.context import trial_settings
from service.errors import JobFailedError
from service.export.metrics import complaints_of
from service.export.winner import export_trial, validation_metrics
from service.home import Home
from service.plans import find_starts_at
from service.preparation import Prepared, Say, prepare
from service.probes import Prober, check_overfit, measure_lr_range
from service.runner import Observer, Outcome, Progress, Runner
from service.search import Plan
from service.seats import Seats
from service.spec import Spec
from service.store import CheckpointFiles, JobLock, JobRecord, NewStage, Store
from service.tracking import MlflowFollower, TrackingPlace

FLUSH_S, HALT_FLUSH_S = 60.0, 10.0  # how long MLflow may take for what is left, of a job that goes on as well
COUNT_PERIOD_S = 1.0  # what a killed process may fail to count of its time


@dataclass(frozen=True, kw_only=True)
class Started:
    """What an observer needs to know when a job begins."""

    job: JobRecord
    plan: Plan
    num_slots: int
    resumed: bool
    warnings: tuple[str, ...]  # about settings that are allowed and hardly meant


OnStart = Callable[[Started], None]


class HaltError(Exception):
    """Raised at the end of a leg to break a run off in good order: nothing that is on record is lost."""


def _go_on() -> None:
    """Ask for nothing at the end of a leg."""


def begin_or_go_on(
    spec: Spec,
    *,
    home: Home,
    known: JobRecord | None,
    seats: Seats,
    on_start: OnStart | None,
    observer: Observer | None,
    say: Say,
) -> JobRecord:
    """Run a new job, or go on with a known one; see `service.embedded.run_job`."""
    prepared = prepare(spec, seats, find_starts=lambda resolved: find_starts_at(home, resolved, known), say=say)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(home.store_url()))
        job = known or store.create_job(
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            spec_fingerprint=spec.fingerprint(),
            base_dir=str(Path.cwd()),
            seed=spec.seed,
        )
        stack.enter_context(JobLock(home.folder, job.id))

        def set_aside(error: BaseException) -> None:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            store.pause_job(job.id, f"{why}; the same command goes on with it")

        run = JobRun(
            store=store,
            home=home,
            job=job,
            prepared=prepared,
            tracking=TrackingPlace.local(home.folder),
            set_aside=set_aside,
        )
        return run.carry_out(resumed=known is not None, on_start=on_start, observer=observer, say=say)


@dataclass
class JobRun:
    """One run of a job, from its plan to its bundle.

    Args:
        store: The job is in it.
        home: Where checkpoints and bundles lie.
        job: The job, which no other process runs.
        prepared: What the run stands on.
        tracking: Where MLflow's runs go.
        set_aside: Puts a job that was broken off into the state from which it goes on, or says that it cannot.
        at_leg_end: Asked at the end of every leg; what it raises breaks the run off.
    """

    store: Store
    home: Home
    job: JobRecord
    prepared: Prepared
    tracking: TrackingPlace
    set_aside: Callable[[BaseException], None]
    at_leg_end: Callable[[], None] = _go_on

    def carry_out(
        self, *, resumed: bool, on_start: OnStart | None, observer: Observer | None, say: Say
    ) -> JobRecord:
        """Search, test and export the winner; whatever happens, leave a state from which to go on."""
        store, job, prepared = self.store, self.job, self.prepared
        self.checkpoints = CheckpointFiles(self.home.folder)
        self._counted_to = prepared.started_at
        self._record_plan()
        store.start_job(job.id)
        follower = self._follower()
        if on_start is not None:
            on_start(
                Started(
                    job=job,
                    plan=prepared.plan,
                    num_slots=prepared.engine.num_slots,
                    resumed=resumed,
                    warnings=prepared.resolved.warnings,
                )
            )
        try:
            self.at_leg_end()
            checks = self._probe(say)
            say("training")
            outcome = self._search(checks, observer, follower)
            self.at_leg_end()
            say("testing the winner and writing its bundle")
            self._finish(outcome, checks)
        except JobFailedError as error:
            self._count_time()
            store.fail_job(job.id, str(error))
            _flush(follower, say)
            raise
        except HaltError as error:
            self._count_time()
            self.set_aside(error)
            _flush(follower, say, timeout_s=HALT_FLUSH_S)
            raise
        except BaseException as error:
            follower.stop(flush=False)
            self._count_time()
            self.set_aside(error)
            raise
        _flush(follower, say)
        self._count_time()  # the job's time holds its tracking
        return store.job(job.id)

    def _record_plan(self) -> None:
        plan = self.prepared.plan
        self.store.record_plan(
            self.job.id,
            plan=plan.to_dict(),
            stages=[NewStage(number=s.number, name=s.name, opens=s.opens, why=s.why) for s in plan.stages],
            metric=plan.metric,
            mode=plan.mode,
            data_fingerprint=self.prepared.resolved.data_fingerprint,
        )

    def _follower(self) -> MlflowFollower:
        spec = self.prepared.resolved.spec
        return MlflowFollower(
            self.store,
            self.job.id,
            tracking_uri=self.tracking.uri,
            experiment=spec.experiment_name,
            artifacts=self.tracking.artifacts,
        )

    def _probe(self, say: Say) -> dict[str, Any]:
        """Find out before the search what would make it a waste, and where to begin."""
        spec, space = self.prepared.resolved.spec, self.prepared.resolved.space
        prober = Prober(store=self.store, job_id=self.job.id, engine=self.prepared.engine)
        found: dict[str, Any] = {}
        if spec.checks.overfit:
            say("checking that the defaults can learn a handful of rows")
            found["overfit"] = check_overfit(prober, spec, space)
        if spec.search.lr_range_test:
            say("testing the range of learning rates")
            lr_range = measure_lr_range(prober, spec, space)
            found["lr_range"] = lr_range.to_dict() if lr_range else None
        return found

    def _search(self, checks: Mapping[str, Any], observer: Observer | None, follower: MlflowFollower) -> Outcome:
        spec, lr_range = self.prepared.resolved.spec, checks.get("lr_range")

        def observe(progress: Progress) -> None:
            follower.start()  # not before: MLflow's import would slow the start of the slots down
            if time.monotonic() - self._counted_to > COUNT_PERIOD_S:
                self._count_time()
            if observer is not None:
                observer(progress)

        limit = spec.budget.wall_clock
        return Runner(
            store=self.store,
            checkpoints=self.checkpoints,
            job_id=self.job.id,
            plan=self.prepared.plan,
            space=self.prepared.resolved.space,
            seed=spec.seed,
            engine=self.prepared.engine,
            shape=FusedShapes(self.prepared.context),
            lr_range=(lr_range["low"], lr_range["high"]) if lr_range else None,
            wall_clock_s=None if limit is None else limit - self.store.job(self.job.id).active_s,
            observer=observe,
            at_leg_end=self.at_leg_end,
        ).run()

    def _finish(self, outcome: Outcome, checks: Mapping[str, Any]) -> None:
        store, job_id, number = self.store, self.job.id, outcome.best.number
        test = self._test(number)
        path = export_trial(
            store,
            self.checkpoints,
            job_id,
            number,
            self.prepared.resolved,
            settings=trial_settings(self.prepared.resolved, outcome.best.params),
            folder=self.home.bundles / job_id,
            replace=True,
        )
        store.record_export(job_id, number, str(path))
        self._count_time()
        trial = store.trial(job_id, number)
        store.finish_job(
            job_id,
            best_trial=number,
            result={
                "num_trials": outcome.num_trials,
                "num_epochs": outcome.num_epochs,
                "ray_init_s": self.prepared.ray_init_s,
                "winner_s": store.job(job_id).active_s,  # what the job's time has beyond it is tracking's
                "out_of_time": outcome.out_of_time,
                "best": {
                    "number": number,
                    "params": dict(trial.params),
                    "metrics": validation_metrics(store, job_id, trial, self.prepared.resolved),
                    "epoch": trial.best_epoch,
                },
                "test": test,
                "importances": outcome.importances,
                "checks": dict(checks),
                "health": self._health(),
                "bundle": str(path),
            },
        )

    def _health(self) -> dict[str, list[str]]:
        """Say what was bad, by trial; trials without a complaint are left out."""
        numbers = [trial.number for trial in self.store.trials(self.job.id)]
        found = complaints_of(self.store, self.job.id, numbers)
        return {str(number): bad for number, bad in found.items() if bad}

    def _test(self, number: int) -> dict[str, Any]:
        """Read the test split, once in the job's life; after a crash the answer on record is taken."""
        store, job_id = self.store, self.job.id
        known = store.test_read(job_id)
        if known is not None and known.metrics is not None and known.trial == number:
            return dict(known.metrics)
        from service.engine.train import evaluate

        store.claim_test_read(job_id, number)
        trial = store.trial(job_id, number)
        source = self.prepared.resolved.source
        test = source.read_test() if source else None
        checkpoint = self.checkpoints.read(job_id, number, trial.epochs)
        measured = evaluate(self.prepared.context, checkpoint, trial.params, test)
        if test is not None and test.unknown_ratio is not None:
            measured["test_unknown_ratio"] = test.unknown_ratio
        metrics = {name: _finite(value) for name, value in measured.items()}
        return dict(store.record_test_metrics(job_id, metrics).metrics or {})

    def _count_time(self) -> None:
        now = time.monotonic()
        self.store.add_active_time(self.job.id, max(0.0, now - self._counted_to))
        self._counted_to = now


def _finite(value: Any) -> Any:
    """Write a number that is none as None, in mappings of numbers too: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return value if math.isfinite(value) else None


def _flush(follower: MlflowFollower, say: Say, *, timeout_s: float = FLUSH_S) -> None:
    say("writing to MLflow")
    follower.start()
    report = follower.stop(flush=True, timeout_s=timeout_s)
    if report.warning:
        say(report.warning)
