"""The states of jobs, stages, trials and exports, and the one table of moves for each.

The database holds the same tables as triggers (`service/store/migrations`); a test compares the two, pair by pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from service.errors import ConflictError


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StageState(StrEnum):
    """Where a stage stands; skipped: the budget or the ladder left it out."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"


class TrialState(StrEnum):
    """Where a trial stands; stopped: at a rung; diverged: a loss was not finite; failed: it raised."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing is trained after this state."""
        return not TRIAL_MOVES[self]


class ExportState(StrEnum):
    """Where a bundle that was asked for stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Wish(StrEnum):
    """What was asked of a running job, and is carried out at the end of a leg.

    pause: put it aside; cancel: end it for good; preempt: put it back into the queue, a more important one waits.
    """

    PAUSE = "pause"
    CANCEL = "cancel"
    PREEMPT = "preempt"


class Role(StrEnum):
    """What the bearer of a token may do; each may do what those before it may.

    viewer: read the jobs of its owner; submitter: submit and steer them; admin: everything, of all owners.
    """

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ADMIN = "admin"


JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.PAUSED, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.RUNNING}),  # run again once its cause is gone
    JobState.CANCELLED: frozenset(),
}

STAGE_MOVES: Mapping[StageState, frozenset[StageState]] = {
    StageState.PENDING: frozenset({StageState.RUNNING, StageState.SKIPPED}),
    StageState.RUNNING: frozenset({StageState.COMPLETED}),
    StageState.COMPLETED: frozenset(),
    StageState.SKIPPED: frozenset(),
}

TRIAL_MOVES: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.PENDING: frozenset(
        {
            TrialState.RUNNING,
            TrialState.COMPLETED,
            TrialState.DIVERGED,
            TrialState.FAILED,
            TrialState.CANCELLED,
        }
    ),
    TrialState.RUNNING: frozenset(
        {
            TrialState.COMPLETED,
            TrialState.STOPPED,
            TrialState.DIVERGED,
            TrialState.FAILED,
            TrialState.CANCELLED,
        }
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.STOPPED: frozenset(),
    TrialState.DIVERGED: frozenset(),
    TrialState.FAILED: frozenset(),
    TrialState.CANCELLED: frozenset(),
}

EXPORT_MOVES: Mapping[ExportState, frozenset[ExportState]] = {
    ExportState.QUEUED: frozenset({ExportState.RUNNING, ExportState.FAILED}),
    ExportState.RUNNING: frozenset({ExportState.QUEUED, ExportState.COMPLETED, ExportState.FAILED}),
    ExportState.COMPLETED: frozenset(),
    ExportState.FAILED: frozenset(),
}

UNFINISHED_TRIALS = tuple(state for state in TrialState if TRIAL_MOVES[state])


def check_job_move(job_id: str, now: JobState, to: JobState) -> None:
    """Refuse a move that the table does not hold.

    Raises:
        ConflictError: The job may not go from `now` to `to`.
    """
    if to in JOB_MOVES[now]:
        return
    targets = " or ".join(sorted(JOB_MOVES[now]))
    remedy = f"it may become {targets}" if targets else "that is its end: start another with --new"
    raise ConflictError(f"a {now} job cannot become {to}, got job {job_id}: {remedy}")
