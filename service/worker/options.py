"""What a worker is told once, and hands on to its children."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from service.seats import EngineName, RunOptions
from service.settings import Settings
from service.tracking import TrackingPlace

# Exit codes of a child.
DONE = 0  # what became of its errand is on record
DIED = 1  # it is not
NOT_NOW = 75  # the job is back in the queue through no fault of its own: EX_TEMPFAIL of sysexits(3)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Args:
        name: By which it is known; no two workers share one.
        home: Folder of checkpoints and bundles, the same for every worker of a store.
        store_url: Of the record; may hold a password.
        tracking: Where jobs show in MLflow.
        engine: Where a child trains: slots on Ray, or the child itself.
        ray_address: A cluster to join; None: a local Ray for each job.
        num_slots: Of a job; None: as many as there is room for.
        max_running_jobs: At once.
        max_running_per_owner: Of one owner, on all workers together; None for no limit.
        lease_s: For how long a job is claimed, in seconds; renewed at a third.
        poll_s: Between two looks at the queue, in seconds.
        grace_s: What children have for their legs when the worker is asked to end, in seconds.
    """

    name: str
    home: Path
    store_url: str = field(repr=False)
    tracking: TrackingPlace
    engine: EngineName = "ray"
    ray_address: str | None = None
    num_slots: int | None = None
    max_running_jobs: int = 1
    max_running_per_owner: int | None = None
    lease_s: float = 30.0
    poll_s: float = 1.0
    grace_s: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> WorkerOptions:
        """Take them from the settings of the environment."""
        uri, home = settings.mlflow_uri, settings.home
        return cls(
            name=settings.worker_name,
            home=home,
            store_url=settings.store_url(),
            tracking=TrackingPlace(uri=uri) if uri else TrackingPlace.local(home),
            engine=settings.engine,
            ray_address=settings.ray_address,
            num_slots=settings.slots,
            max_running_jobs=settings.max_running_jobs,
            max_running_per_owner=settings.max_running_per_owner,
            lease_s=settings.lease_s,
            poll_s=settings.poll_s,
            grace_s=settings.grace_s,
        )

    def run_options(self) -> RunOptions:
        """Say how a child runs its job."""
        if self.engine == "local":
            return RunOptions(engine="local")
        return RunOptions(address=self.ray_address, num_slots=self.num_slots, share=self.max_running_jobs)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What a child is to do: run a job, or write a bundle of one that has a winner.

    Args:
        kind: Which of the two.
        job_id: The job.
        attempt: The number of the claim, which fences off earlier ones.
        export_id: The bundle that was asked for.
    """

    kind: Literal["job", "export"]
    job_id: str
    attempt: int
    export_id: int | None = None

    @property
    def key(self) -> tuple[str, str | int, int]:
        """Tell errands apart; a job may be claimed again while the attempt before still closes its Ray."""
        return (self.kind, self.job_id if self.export_id is None else self.export_id, self.attempt)
