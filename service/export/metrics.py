"""A trial's metrics at its best epoch; light to import, for commands that only read."""

from __future__ import annotations

from lightning_modules.health import complaints, without_health
from service.store import Store, TrialRecord


def best_metrics(store: Store, job_id: str, trial: TrialRecord) -> dict[str, float | None]:
    """Give every metric of a trial's best epoch, health aside; empty if no epoch had a finite objective."""
    for measurement in store.measurements(job_id, trial.number):
        if measurement.epoch == trial.best_epoch:
            return without_health(measurement.metrics)
    return {}


def trial_complaints(store: Store, job_id: str, number: int) -> list[str]:
    """Say what was bad about a trial's health; see `lightning_modules.health`."""
    return complaints(measurement.metrics for measurement in store.measurements(job_id, number))
