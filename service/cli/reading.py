"""What commands read of jobs, the same from a home folder and from a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from service.bundle_files import check_free
from service.cli.places import Place, ask_server
from service.cli.records import JobLike, StageLike, TallyLike, TrialLike
from service.cli.results import trial_record
from service.errors import NotFoundError
from service.home import Home

if TYPE_CHECKING:  # a command imports the one that it asks
    from service.client import Client
    from service.store import Store

Listed = Sequence[tuple[JobLike, TallyLike]]


class Reader(Protocol):
    """Answers questions about jobs."""

    def jobs(self, *, limit: int, state: str | None, name: str | None, owner: str | None) -> Listed:
        """List jobs with what they have come to, newest first."""
        ...

    def job(self, id_or_prefix: str | None) -> JobLike:
        """Find a job by the beginning of its id; None: the latest."""
        ...

    def stages(self, job: JobLike) -> Sequence[StageLike]:
        """List a job's stages."""
        ...

    def trials(self, job: JobLike) -> Sequence[TrialLike]:
        """List a job's trials."""
        ...

    def trial_records(self, job: JobLike, *, with_health: bool) -> list[dict[str, Any]]:
        """Describe a job's trials with their metrics; health means reading every epoch."""
        ...

    def export(self, job: JobLike, to: Path | None) -> Path:
        """Write a job's bundle to a folder on this machine."""
        ...


@contextmanager
def open_reader(place: Place) -> Iterator[Reader]:
    """Open a home folder's record or a connection to a server.

    Raises:
        NotFoundError: The home folder has no record.
    """
    if place.server is not None:
        with ask_server(place) as client:
            yield ServerReader(client)
    else:
        with open_store(place.home) as store:
            yield HomeReader(store, place.home)


@contextmanager
def open_store(home: Path) -> Iterator[Store]:
    """Open the record of a home folder that has one.

    Raises:
        NotFoundError: There is none.
    """
    places = Home(home)
    if not places.store_file.exists():
        raise NotFoundError(f"no job has run in {places.folder}: give --home, or start one with tuneladder run")
    from service.store import Store

    with Store.open(places.store_url()) as store:
        yield store


@dataclass(frozen=True)
class HomeReader:
    """Reads the record of a home folder."""

    store: Store
    home: Path

    def jobs(self, *, limit: int, state: str | None, name: str | None, owner: str | None) -> Listed:
        """See `Reader`."""
        from service.store import JobState

        wanted = JobState(state) if state else None
        found = self.store.jobs(limit=limit, state=wanted, name=name, owner=owner)
        tallies = self.store.tallies([job.id for job in found])
        return [(job, tallies[job.id]) for job in found]

    def job(self, id_or_prefix: str | None) -> JobLike:
        """See `Reader`."""
        if id_or_prefix is not None:
            return self.store.job(id_or_prefix)
        latest = self.store.jobs(limit=1)
        if not latest:
            raise NotFoundError("no job is on record here: start one with tuneladder run")
        return latest[0]

    def stages(self, job: JobLike) -> Sequence[StageLike]:
        """See `Reader`."""
        return self.store.stages(job.id)

    def trials(self, job: JobLike) -> Sequence[TrialLike]:
        """See `Reader`."""
        return self.store.trials(job.id)

    def trial_records(self, job: JobLike, *, with_health: bool) -> list[dict[str, Any]]:
        """See `Reader`."""
        from service.export.metrics import best_metrics, complaints_of

        trials = self.store.trials(job.id)
        numbers = [trial.number for trial in trials]
        metrics = best_metrics(self.store, job.id, numbers)
        bad = complaints_of(self.store, job.id, numbers) if with_health else {}
        return [trial_record(t, metrics[t.number], bad.get(t.number, ())) for t in trials]

    def export(self, job: JobLike, to: Path | None) -> Path:
        """Write the bundle again, from the record."""
        if to is not None:
            to = check_free(to.expanduser().absolute())  # before the imports and the data, which take seconds
        from service.exports import export_again

        return export_again(self.store, self.store.job(job.id), home=self.home, to=to)


@dataclass(frozen=True)
class ServerReader:
    """Asks a server."""

    client: Client

    def jobs(self, *, limit: int, state: str | None, name: str | None, owner: str | None) -> Listed:
        """See `Reader`."""
        return [(job, job) for job in self.client.jobs(limit=limit, state=state, name=name, owner=owner)]

    def job(self, id_or_prefix: str | None) -> JobLike:
        """See `Reader`."""
        if id_or_prefix is None:
            latest = next(islice(self.client.jobs(limit=1), 1), None)
            if latest is None:
                raise NotFoundError(f"no job of yours is at {self.client.url}: hand one in with tuneladder submit")
            id_or_prefix = latest.id
        return self.client.job(id_or_prefix)

    def stages(self, job: JobLike) -> Sequence[StageLike]:
        """See `Reader`."""
        return self.client.stages(job.id)

    def trials(self, job: JobLike) -> Sequence[TrialLike]:
        """See `Reader`."""
        return list(self.client.trials(job.id))

    def trial_records(self, job: JobLike, *, with_health: bool) -> list[dict[str, Any]]:
        """See `Reader`."""
        found = self.client.trials(job.id, measurements=with_health)
        return [trial_record(t, t.metrics, t.health or ()) for t in found]

    def export(self, job: JobLike, to: Path | None) -> Path:
        """Fetch the bundle; by default into a folder of the job's name and id, in the current one."""
        return self.client.download(job.id, to or Path(f"bundle-{job.id}"))
