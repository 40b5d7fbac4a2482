"""What runs: the parts of a home's stack, and what the store knows of workers and jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.errors import TuneladderError
from service.settings import Settings
from service.stack.record import PartRecord, StackFile, StackRecord
from service.store import JobState, Store, WorkerRecord

LATELY_S = 60.0  # a worker that was not heard of for so long is taken to be gone


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a person asks for when something seems wrong."""

    stack: StackRecord
    workers: tuple[WorkerRecord, ...]  # heard of lately
    num_jobs: dict[JobState, int]
    store_error: str | None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as it should be, in a line each."""
        found = []
        if self.store_error is not None:
            found.append(self.store_error)
        if self.stack.is_up():
            found += [
                f"{part.name} is {part.state}, see {part.log}"
                for part in self.stack.parts
                if self.part_state(part) != "running"
            ]
        elif any(part.process is not None and part.process.is_alive() for part in self.stack.parts):
            found.append("the stack was killed and has left parts running: tuneladder down ends them")
        waiting = self.num_jobs[JobState.QUEUED]
        if self.store_error is None and not self.workers and (waiting or self.stack.is_up()):
            found.append(f"no worker has been heard of for {LATELY_S:g} s, {waiting} jobs are queued")
        return tuple(found)

    @staticmethod
    def part_state(part: PartRecord) -> str:
        """Say where a part stands now, whatever the record says of a moment ago."""
        if part.state in ("starting", "running") and not (part.process and part.process.is_alive()):
            return "ended"
        return part.state

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {
            "is_up": self.stack.is_up(),
            "is_ready": self.stack.is_up() and self.stack.is_ready,
            "parts": [
                {
                    "name": part.name,
                    "state": self.part_state(part),
                    "pid": part.process.pid if part.process else None,
                    "url": part.url,
                    "log": part.log,
                    "num_restarts": part.num_restarts,
                }
                for part in self.stack.parts
            ],
            "workers": [
                {
                    "name": worker.name,
                    "seen_s_ago": (datetime.now(UTC) - worker.seen_at).total_seconds(),
                    **worker.detail,
                }
                for worker in self.workers
            ],
            "jobs": {str(state): count for state, count in self.num_jobs.items()},
            "problems": list(self.problems),
        }


def find_status(settings: Settings) -> Status:
    """Look at the stack of a home and ask its store."""
    workers: tuple[WorkerRecord, ...] = ()
    num_jobs = dict.fromkeys(JobState, 0)
    error = None
    if settings.database_url is None and not settings.places.store_file.exists():
        error = f"no store is in {settings.places.folder} yet: tuneladder up makes one, or give --home"
    else:
        try:
            with Store.open(settings.store_url()) as store:
                workers = store.workers(seen_within_s=max(LATELY_S, settings.lease_s))
                num_jobs = store.num_jobs()
        except TuneladderError as found:
            error = str(found)
    return Status(
        stack=StackFile(settings.places.folder).read(), workers=workers, num_jobs=num_jobs, store_error=error
    )
