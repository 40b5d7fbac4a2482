"""One job in this process: a home folder with the record, checkpoints, MLflow and bundles, and an engine.

What `tuneladder run` does, callable from Python: `run_job(parse_spec({...}), home=Path("runs"))`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import InvalidSpecError
from service.home import Home
from service.interrupts import interrupts_wait
from service.seats import RunOptions, Seats
from service.spec import Spec

if TYPE_CHECKING:
    from service.job_run import OnStart
    from service.preparation import Say
    from service.runner import Observer
    from service.store import JobRecord


def run_job(
    spec: Spec,
    *,
    home: Path,
    options: RunOptions | None = None,
    on_start: OnStart | None = None,
    observer: Observer | None = None,
    say: Say | None = None,
) -> JobRecord:
    """Run a job, go on with an unfinished one, or answer with a finished one.

    Args:
        spec: The job.
        home: Folder that holds everything.
        options: How to run.
        on_start: Called once, before the first leg, unless the job had finished before.
        observer: Called after every recorded leg and ended stage.
        say: Told in a few words what else takes time.

    Returns:
        The job's record; `result` holds winner, test metrics and the bundle's path.

    Raises:
        InvalidSpecError: The spec, the data or the machine breaks a rule; nothing is left behind then.
        ConflictError: Another process runs the job, or data or code changed since it began.
        JobFailedError: It ended without a winner.
    """
    options = options or RunOptions()
    places = Home(home)
    known = None if options.new else _latest(places, spec)
    if known is not None and known.state == "completed":
        _log_the_rest(places, spec, known, say or _silence)
        return known
    with ExitStack() as stack:
        stack.enter_context(_removed_on_error(places.folder))
        seats = stack.enter_context(Seats(spec, options, places))
        with interrupts_wait():
            seats.boot()
            from service.job_run import begin_or_go_on  # torch, Lightning, Optuna: seconds, while Ray starts

        return begin_or_go_on(
            spec,
            home=places,
            known=known,
            seats=seats,
            on_start=on_start,
            observer=observer,
            say=say or _silence,
        )


def _log_the_rest(home: Home, spec: Spec, job: JobRecord, say: Say) -> None:
    """Log what a slow or absent MLflow did not take when the job ended."""
    from service.store import Store

    with Store.open(home.store_url()) as store:
        if not store.num_untracked(job.id):
            return
    from service.tracking import MlflowFollower, TrackingPlace

    say("writing to MLflow")
    place = TrackingPlace.local(home.folder)
    follower = MlflowFollower(
        home.store_url(),
        job.id,
        tracking_uri=place.uri,
        experiment=spec.experiment_name,
        artifacts=place.artifacts,
    )
    if warning := follower.start().stop(flush=True).warning:
        say(warning)


def _silence(text: str) -> None:
    pass


def _latest(home: Home, spec: Spec) -> JobRecord | None:
    """Find the job of this spec to go on with or to show: cancelled ones are over, failed ones run again."""
    if not home.store_file.exists():
        return None
    from service.store import JobState, Store

    with Store.open(home.store_url()) as store:
        job = store.latest_job(spec.fingerprint())
    return None if job is None or job.state in (JobState.CANCELLED, JobState.FAILED) else job


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    """Leave nothing half-made: a home that a refused job began is removed."""
    existed = folder.exists()
    try:
        yield
    except InvalidSpecError:
        if not existed and not (folder / "tuneladder.db").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
