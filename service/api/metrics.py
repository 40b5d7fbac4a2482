"""What Prometheus is told: requests as they were answered, and the store's figures when it asks."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.store import JobState

MEDIA_TYPE = CONTENT_TYPE_LATEST
_LATENCIES_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tuneladder_http_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "tuneladder_http_request_seconds",
            "Seconds until the answer began.",
            ["route", "method"],
            buckets=_LATENCIES_S,
            registry=self._registry,
        )
        self._jobs = Gauge("tuneladder_jobs", "Jobs by state.", ["state"], registry=self._registry)
        self._queue = Gauge("tuneladder_queue_length", "Jobs that wait for a worker.", registry=self._registry)
        self._workers = Gauge("tuneladder_workers", "Workers heard of lately.", registry=self._registry)
        self._watchers = Gauge("tuneladder_watchers", "Event streams that are open.", registry=self._registry)

    def count_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, method, str(status)).inc()
        self._latency.labels(route, method).observe(seconds)

    def text(self, *, num_jobs: Mapping[JobState, int], num_workers: int, num_watchers: int) -> bytes:
        """Write everything in Prometheus' text format.

        Args:
            num_jobs: By state; states without a job may be left out.
            num_workers: Heard of lately.
            num_watchers: Open streams.
        """
        for state in JobState:
            self._jobs.labels(str(state)).set(num_jobs.get(state, 0))
        self._queue.set(num_jobs.get(JobState.QUEUED, 0))
        self._workers.set(num_workers)
        self._watchers.set(num_watchers)
        return generate_latest(self._registry)
