"""The store: the truth about every job, behind one object."""

from __future__ import annotations

from service.store.events import Events
from service.store.exports import Exports
from service.store.legs import Legs
from service.store.lists import Lists
from service.store.plans import Plans
from service.store.probes import Probes
from service.store.progress import TrackingProgress
from service.store.queue import Queue
from service.store.reads import Reads
from service.store.tokens import Tokens
from service.store.workers import Workers


class Store(Queue, Lists, Plans, Legs, Probes, Reads, Exports, Events, TrackingProgress, Tokens, Workers):
    """Everything that is known about jobs, durable as soon as a method returns.

    `Store.open(url)` makes the tables or brings them up to date, in a SQLite file or a PostgreSQL database. A
    store may be shared by threads, and a database by processes. Answers are frozen records. A method that writes
    is one transaction; a question never writes. `store.fenced(job_id, attempt)` gives the store of one attempt.
    """
