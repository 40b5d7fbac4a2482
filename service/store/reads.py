"""What leaves a job: the one look at the test split, and the bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from service.errors import ConflictError, NotFoundError
from service.store.database import Database
from service.store.records import ExportRecord, TestRead
from service.store.rows import export_record, get_job, get_trial, test_read_record
from service.store.tables import ExportRow, TestReadRow


class Reads(Database):
    """What the store knows about the test split and the exports of a job."""

    def claim_test_read(self, job_id: str, trial: int) -> TestRead:
        """Claim the job's only look at the test split for a trial.

        A claim without metrics belongs to a process that died before it could answer: the same trial may claim it
        again.

        Raises:
            NotFoundError: The job or the trial is not there.
            ConflictError: The test split was read already, or claimed for another trial.
        """
        with self._writing() as session:
            get_job(session, job_id)
            get_trial(session, job_id, trial)
            row = session.get(TestReadRow, job_id)
            if row is None:
                row = TestReadRow(job_id=job_id, trial=trial, claimed_at=self._clock())
                session.add(row)
                session.flush()
            elif row.trial != trial or row.metrics is not None:
                done = "claimed" if row.metrics is None else "read"
                raise ConflictError(
                    f"the test split is read once in a job, for its winner; in job {job_id} it was {done} for "
                    f"trial {row.trial}, got a claim for trial {trial}: use what is on record, or start another "
                    "with --new"
                )
            return test_read_record(row)

    def record_test_metrics(self, job_id: str, metrics: Mapping[str, Any]) -> TestRead:
        """Put the test metrics on record, for good: numbers by name, and mappings of what has one for each class.

        Raises:
            NotFoundError: Nobody claimed the look.
            ConflictError: They are on record already.
        """
        with self._writing() as session:
            row = session.get(TestReadRow, job_id)
            if row is None:
                raise NotFoundError(f"the test split of job {job_id} was not claimed: call claim_test_read first")
            if row.metrics is not None:
                raise ConflictError(f"the test split is read once in a job, got metrics again for job {job_id}")
            row.metrics = dict(metrics)
            session.flush()
            return test_read_record(row)

    def test_read(self, job_id: str) -> TestRead | None:
        """Say what is on record about the test split; None where nobody has looked."""
        with self._reading() as session:
            get_job(session, job_id)
            row = session.get(TestReadRow, job_id)
            return None if row is None else test_read_record(row)

    def record_export(self, job_id: str, trial: int, path: str) -> ExportRecord:
        """Put on record that a bundle was written.

        Raises:
            NotFoundError: The job or the trial is not there.
        """
        with self._writing() as session:
            get_job(session, job_id)
            get_trial(session, job_id, trial)
            row = ExportRow(job_id=job_id, trial=trial, path=path, created_at=self._clock())
            session.add(row)
            session.flush()
            return export_record(row)

    def exports(self, job_id: str) -> tuple[ExportRecord, ...]:
        """List the bundles of a job, oldest first."""
        query = select(ExportRow).where(ExportRow.job_id == job_id).order_by(ExportRow.id)
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(export_record(row) for row in session.scalars(query))
