"""A bundle that was asked for, written by a child of a worker."""

from __future__ import annotations

import traceback
from typing import cast

from service.errors import LeaseLostError
from service.exports import write_bundle_again
from service.home import Home
from service.spec import ExportFormat
from service.store import Store
from service.worker.attempt import last_line, say
from service.worker.options import DONE, Errand, WorkerOptions
from service.worker.patience import patient


def write_export(store: Store, errand: Errand, options: WorkerOptions) -> int:
    """Write the bundle into a folder of its own, and say on record where it lies or why there is none.

    Returns:
        The process's exit code.
    """
    assert errand.export_id is not None
    places, record = Home(options.home), patient(store)
    asked = record.export(errand.job_id, errand.export_id)
    say(f"--- bundle {asked.id} on {options.name}")
    path: str | None = None
    message: str | None = None
    try:
        written = write_bundle_again(
            record,
            record.job(asked.job_id),
            home=places.folder,
            folder=places.bundles / f"{asked.job_id}-{asked.id}",
            replace=True,
            formats=cast("tuple[ExportFormat, ...] | None", asked.formats),
        )
        path = str(written)
    except Exception as error:
        traceback.print_exc()
        message = last_line(error)
    try:
        record.finish_export(asked.id, errand.attempt, path=path, message=message)
    except LeaseLostError as error:
        say(str(error))
    return DONE
