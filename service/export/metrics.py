"""Trials' metrics at their best epochs; light to import, for commands that only read."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_modules.health import complaints, without_health
from service.store import Store


def best_metrics(store: Store, job_id: str, numbers: Sequence[int]) -> dict[int, dict[str, float | None]]:
    """Give every metric of trials' best epochs, health aside; empty where no epoch had a finite objective."""
    best = store.best_measurements(job_id, numbers)
    return {number: without_health(best[number][0].metrics) if best[number] else {} for number in numbers}


def complaints_of(store: Store, job_id: str, numbers: Sequence[int]) -> dict[int, list[str]]:
    """Say what was bad about trials' health, by number; see `lightning_modules.health`."""
    measured = store.measurements_of(job_id, numbers)
    return {number: complaints(one.metrics for one in measured[number]) for number in numbers}
