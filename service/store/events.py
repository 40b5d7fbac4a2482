"""What happened to a job, in order: who has seen event n misses nothing by asking for what came after n."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from sqlalchemy import select

from service.store.database import Database
from service.store.rows import get_job
from service.store.service_records import EventKind, EventRecord
from service.store.service_tables import EventRow
from service.store.tables import JobRow


class Events(Database):
    """What the store knows about what happened."""

    def events(self, job_id: str, *, after: int = -1, limit: int = 1000) -> tuple[EventRecord, ...]:
        """List the events of a job by number.

        Args:
            job_id: The job.
            after: The last number that was seen.
            limit: At most this many.

        Raises:
            NotFoundError: The job is not there.
        """
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.number > after)
        with self._asking() as session:
            rows = session.scalars(query.order_by(EventRow.number).limit(limit)).all()
            if not rows:
                get_job(session, job_id)
            return tuple(
                EventRecord(number=row.number, at=row.at, kind=cast(EventKind, row.kind), data=row.data)
                for row in rows
            )

    def num_events(self, job_ids: Collection[str]) -> dict[str, int]:
        """Count the events of many jobs in one query: a watcher of many asks for those that have new ones.

        Jobs that are not there are left out.
        """
        query = select(JobRow.id, JobRow.num_events).where(JobRow.id.in_(job_ids))
        with self._asking() as session:
            return dict(session.execute(query).all())
