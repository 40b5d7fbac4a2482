"""The one look at the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.errors import ConflictError, NotFoundError
from service.store.database import Database
from service.store.records import TestRead
from service.store.rows import get_job, get_trial, test_read_record
from service.store.tables import TestReadRow


class Reads(Database):
    """What the store knows about the test split of a job."""

    def claim_test_read(self, job_id: str, trial: int) -> TestRead:
        """Claim the job's only look at the test split for a trial.

        A claim without metrics belongs to a process that died before it could answer: the same trial may claim it
        again.

        Raises:
            NotFoundError: The job or the trial is not there.
            ConflictError: The test split was read already, or claimed for another trial.
        """
        with self._changing(job_id) as (session, _):
            get_trial(session, job_id, trial)
            row = session.get(TestReadRow, job_id)
            if row is None:
                row = TestReadRow(job_id=job_id, trial=trial, claimed_at=self._now(session))
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
        with self._changing(job_id) as (session, _):
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
