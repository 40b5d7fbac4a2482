"""A trial's metrics at its best epoch; light to import, for commands that only read."""

from __future__ import annotations

from service.store import Store, TrialRecord


def best_metrics(store: Store, job_id: str, trial: TrialRecord) -> dict[str, float | None]:
    """Give every metric of a trial's best epoch; empty if no epoch had a finite objective."""
    for measurement in store.measurements(job_id, trial.number):
        if measurement.epoch == trial.best_epoch:
            return dict(measurement.metrics)
    return {}
