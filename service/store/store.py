"""The store: the truth about every job, behind one object."""

from __future__ import annotations

from service.store.jobs import Jobs
from service.store.legs import Legs
from service.store.plans import Plans
from service.store.probes import Probes
from service.store.progress import TrackingProgress
from service.store.reads import Reads


class Store(Jobs, Plans, Legs, Probes, Reads, TrackingProgress):
    """Everything that is known about jobs, durable as soon as a method returns.

    `Store.open(url)` makes the tables or brings them up to date. A store may be shared by threads, and a
    database by processes. Answers are frozen records. A method that writes is one transaction; a question never
    writes.
    """
