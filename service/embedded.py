"""One job in this process: a home folder with the record, checkpoints, MLflow and bundles, and an engine.

What `tuneladder run` does, callable from Python: `run_job(parse_spec({...}), home=Path("runs"))`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from service.catalog import ResolvedJob, resolve
from service.engine.base import Engine
from service.errors import InvalidSpecError, JobFailedError
from service.export import export_winner
from service.home import Home
from service.plans import plan_job
from service.runner import Observer, Runner
from service.search import Plan
from service.spec import Spec
from service.store import CheckpointFiles, JobLock, JobRecord, JobState, NewStage, Store
from service.tracking import MlflowFollower

EngineName = Literal["ray", "local"]


@dataclass(frozen=True, kw_only=True)
class Started:
    """What an observer needs to know when a job begins."""

    job: JobRecord
    plan: Plan
    num_slots: int
    resumed: bool


OnStart = Callable[[Started], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, as opposed to what: nothing here changes a result.

    Args:
        engine: `ray` for slots on a cluster, `local` for this process.
        num_slots: Legs at a time; default: as many as the machine has room for.
        address: An existing Ray cluster.
        num_gpus: GPUs that a local Ray offers; default: those that it finds.
        new: Run a job again whose spec has finished here.
    """

    engine: EngineName = "ray"
    num_slots: int | None = None
    address: str | None = None
    num_gpus: int | None = None
    new: bool = False


def run_job(
    spec: Spec,
    *,
    home: Path,
    options: RunOptions | None = None,
    on_start: OnStart | None = None,
    observer: Observer | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> JobRecord:
    """Run a job, go on with an unfinished one, or answer with a finished one.

    Args:
        spec: The job.
        home: Folder that holds everything.
        options: How to run.
        on_start: Called once, before the first leg, unless the job had finished before.
        observer: Called after every recorded leg.
        on_phase: Called with a few words when something else than training takes time.

    Returns:
        The job's record; `result` holds winner, test metrics and the bundle's path.

    Raises:
        InvalidSpecError: The spec, the data or the machine; nothing was started then.
        ConflictError: Another process runs the job, or data or code changed since it began.
        JobFailedError: It ended without a winner.
    """
    options = options or RunOptions()
    places = Home(home)
    say = on_phase or (lambda text: None)
    known = _known_job(places, spec) if not options.new else None
    if known is not None and known.state is JobState.COMPLETED:
        return known
    say("reading data")
    resolved = resolve(spec)
    plan = plan_job(resolved)
    _check_device(resolved, options)
    with ExitStack() as stack:
        stack.enter_context(_new_folder_removed_on_error(places.folder))
        store = stack.enter_context(Store.open(places.store_url()))
        job = known or store.create_job(
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            spec_fingerprint=spec.fingerprint(),
            base_dir=str(Path.cwd()),
            seed=spec.seed,
        )
        stack.enter_context(JobLock(places.folder, job.id))
        run = _Run(store, places, job, resolved, plan, options)
        say("starting Ray" if options.engine == "ray" else "starting")
        return run.carry_out(resumed=known is not None, on_start=on_start, observer=observer, say=say)


class _Run:
    """The one run of `run_job`, from the engine's start to the bundle."""

    def __init__(
        self,
        store: Store,
        home: Home,
        job: JobRecord,
        resolved: ResolvedJob,
        plan: Plan,
        options: RunOptions,
    ) -> None:
        self.store, self.home, self.job = store, home, job
        self.resolved, self.plan, self.options = resolved, plan, options
        self.checkpoints = CheckpointFiles(home.folder)
        self.num_slots = options.num_slots or default_slots(resolved.spec, options)
        self.ray_init_s = 0.0
        self.started = time.monotonic()

    def carry_out(
        self, *, resumed: bool, on_start: OnStart | None, observer: Observer | None, say: Callable[[str], None]
    ) -> JobRecord:
        spec, store, job = self.resolved.spec, self.store, self.job
        with ExitStack() as stack:
            engine = stack.enter_context(self._open_engine())
            self.started += self.ray_init_s  # a cluster's start is not the job's time
            store.record_plan(
                job.id,
                plan=self.plan.to_dict(),
                stages=[NewStage(number=s.number, name=s.name, opens=s.opens, why=s.why) for s in self.plan.stages],
                metric=self.plan.metric,
                mode=self.plan.mode,
                data_fingerprint=self.resolved.data_fingerprint,
            )
            store.start_job(job.id)
            follower = MlflowFollower(
                store,
                job.id,
                tracking_uri=self.home.tracking_uri(),
                experiment=spec.tracking.experiment or spec.name,
                artifact_root=self.home.artifacts,
            )
            follower.start()
            stack.callback(follower.stop, flush=False)
            if on_start is not None:
                on_start(Started(job=job, plan=self.plan, num_slots=self.num_slots, resumed=resumed))
            say("training")
            try:
                self._search(engine, observer, say)
            except KeyboardInterrupt:
                self._account()
                store.pause_job(job.id, "interrupted: run the same command again to go on")
                raise
            except JobFailedError as error:
                self._account()
                store.fail_job(job.id, str(error))
                raise
            finally:
                say("writing to MLflow")
                follower.stop(flush=True)
        return store.job(job.id)

    def _search(self, engine: Engine, observer: Observer | None, say: Callable[[str], None]) -> None:
        spec = self.resolved.spec
        left = None if spec.budget.wall_clock is None else spec.budget.wall_clock - self.job.active_s
        outcome = Runner(
            store=self.store,
            checkpoints=self.checkpoints,
            job_id=self.job.id,
            plan=self.plan,
            space=self.resolved.space,
            seed=spec.seed,
            engine=engine,
            wall_clock_s=left,
            observer=observer,
        ).run()
        engine.close()
        say("testing the winner and writing its bundle")
        winner = self.store.trial(self.job.id, outcome.best.number)
        exported = export_winner(
            self.store, self.checkpoints, self.job.id, self.resolved, folder=self.home.bundles / self.job.id
        )
        self._account()
        self.store.finish_job(
            self.job.id,
            best_trial=winner.number,
            result={
                "num_trials": outcome.num_trials,
                "num_epochs": outcome.num_epochs,
                "wall_s": self.store.job(self.job.id).active_s,
                "ray_init_s": self.ray_init_s,
                "out_of_time": outcome.out_of_time,
                "best": exported.best,
                "test": exported.test,
                "bundle": str(exported.path),
            },
        )

    def _account(self) -> None:
        now = time.monotonic()
        self.store.add_active_time(self.job.id, max(0.0, now - self.started))
        self.started = now

    def _open_engine(self) -> Engine:
        from service.engine.train import train_leg

        context = leg_context(self.resolved, self.plan, self.options)
        if self.options.engine == "local":
            from service.engine.local import LocalEngine

            return LocalEngine(context, train_leg)
        from service.engine.cluster import Cluster, local_cpus
        from service.engine.ray_tune import RayTuneEngine

        resources = self.resolved.spec.resources
        began = time.monotonic()
        cluster = Cluster(
            num_cpus=local_cpus(self.num_slots, resources.cpu),
            num_gpus=self.options.num_gpus,
            address=self.options.address,
        )
        try:
            cluster.wait()
            self.ray_init_s = time.monotonic() - began
            return RayTuneEngine(
                context,
                train_leg,
                num_slots=self.num_slots,
                cpu=resources.cpu,
                gpu=resources.gpu,
                name=self.job.id,
                storage=self.home.ray,
                cluster=cluster,
                owns_cluster=True,
            )
        except BaseException:
            cluster.close()
            raise
