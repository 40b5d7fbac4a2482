"""The winner's bundle again, from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.catalog import resolve
from service.context import trial_settings
from service.errors import ConflictError
from service.export.winner import export_trial
from service.home import Home
from service.preparation import spec_on_record
from service.spec import ExportFormat
from service.store import CheckpointFiles, JobRecord, Store


def export_again(store: Store, job: JobRecord, *, home: Path, to: Path | None) -> Path:
    """Write the winner's bundle from the record, to a new folder or in the place of the first one.

    Raises:
        ConflictError: The job has no winner, something stands at `to`, or the data changed since.
        NotFoundError: The winner's checkpoint is gone.
    """
    folder = (to or Home(home).bundles / job.id).expanduser().absolute()
    path = write_bundle_again(store, job, home=home, folder=folder, replace=to is None)
    assert job.best_trial is not None
    store.record_export(job.id, job.best_trial, str(path))
    return path


def write_bundle_again(
    store: Store,
    job: JobRecord,
    *,
    home: Path,
    folder: Path,
    replace: bool,
    formats: Sequence[ExportFormat] | None = None,
) -> Path:
    """Write the winner's bundle from the record; that it was written is for the caller to record.

    Args:
        store: The job is in it.
        job: It has a winner.
        home: Where its checkpoint lies.
        folder: Where the bundle goes.
        replace: Whether a bundle that stands there gives way.
        formats: What the bundle holds; those of the job's spec by default.

    Raises:
        ConflictError: The job has no winner, something stands at `folder`, or the data changed since.
        NotFoundError: The winner's checkpoint is gone.
    """
    if job.best_trial is None:
        raise ConflictError(f"a bundle is of a winner, job {job.id} is {job.state}: wait for it, or run it")
    resolved = resolve(spec_on_record(job))
    if resolved.data_fingerprint != job.data_fingerprint:
        raise ConflictError(f"the data changed since job {job.id} ran: bring it back, or start another with --new")
    return export_trial(
        store,
        CheckpointFiles(Home(home).folder),
        job.id,
        job.best_trial,
        resolved,
        settings=trial_settings(resolved, store.trial(job.id, job.best_trial).params),
        folder=folder,
        replace=replace,
        formats=formats,
    )
