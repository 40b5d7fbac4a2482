"""Which running job gives way where a more important one waits and nobody has room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from service.store import JobSummary


def choose_job_to_preempt(
    waiting: Sequence[JobSummary], running: Sequence[JobSummary], *, max_running_per_owner: int | None = None
) -> JobSummary | None:
    """Choose the running job that should give way; None where none has to.

    It is the one of lowest priority, and among equals the one that started last. Each job that gives way already
    makes room for one that waits. A job whose owner is at the limit waits for its owner's jobs alone.

    Args:
        waiting: Queued jobs, most important first.
        running: Jobs on all workers.
        max_running_per_owner: The limit.
    """
    stays = [job for job in running if job.wish is None]
    num_leaving = len(running) - len(stays)
    per_owner = Counter(job.owner for job in stays)
    for job in waiting:
        if num_leaving:
            num_leaving -= 1  # room is being made for this one
            continue
        at_limit = max_running_per_owner is not None and per_owner[job.owner] >= max_running_per_owner
        weaker = [
            other
            for other in stays
            if other.priority < job.priority and (not at_limit or other.owner == job.owner)
        ]
        if weaker:
            return min(weaker, key=lambda other: (other.priority, -_start(other), other.id))
    return None


def _start(job: JobSummary) -> float:
    return (job.started_at or job.created_at).timestamp()
