"""Which workers are there: each says so again and again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from service.store.database import Database
from service.store.rows import check_length
from service.store.service_records import WorkerRecord
from service.store.service_tables import WorkerRow


class Workers(Database):
    """What the store knows about workers."""

    def record_worker(self, name: str, detail: Mapping[str, Any] | None = None) -> None:
        """Say that a worker is there.

        Args:
            name: Of the worker; no two have the same.
            detail: What it wants shown: JSON, such as the number of its jobs.
        """
        check_length("worker", name, 200)
        try:
            self._see(name, detail or {})
        except IntegrityError:  # two came at once; now the row is there
            self._see(name, detail or {})

    def _see(self, name: str, detail: Mapping[str, Any]) -> None:
        with self._writing() as session:
            now = self._now(session)
            row = session.get(WorkerRow, name)
            if row is None:
                row = WorkerRow(name=name, started_at=now)
                session.add(row)
            row.seen_at, row.detail = now, dict(detail)

    def forget_worker(self, name: str) -> None:
        """Say that a worker has ended as it should."""
        with self._writing() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.name == name))

    def workers(self, *, seen_within_s: float | None = None) -> tuple[WorkerRecord, ...]:
        """List the workers by name; only those that were heard of lately."""
        query = select(WorkerRow).order_by(WorkerRow.name)
        if seen_within_s is not None:
            query = query.where(WorkerRow.seen_at >= self._clock() - timedelta(seconds=seen_within_s))
        with self._reading() as session:
            return tuple(
                WorkerRecord(name=row.name, started_at=row.started_at, seen_at=row.seen_at, detail=row.detail)
                for row in session.scalars(query)
            )
