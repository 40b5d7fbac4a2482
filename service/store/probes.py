"""Probes in the store: recorded once, before anything follows from them, and answered again."""

from __future__ import annotations

from sqlalchemy import select

from service.errors import ConflictError
from service.legs import Leg, LegResult
from service.store.database import Database
from service.store.records import ProbeRecord
from service.store.rows import USE_NEW, get_job, probe_record
from service.store.states import JobState
from service.store.tables import ProbeRow


class Probes(Database):
    """What the store knows about the trainings that are no trials."""

    def probe(self, job_id: str, key: str, fingerprint: str) -> ProbeRecord | None:
        """Answer a probe from its record; None where it is not on record.

        Raises:
            ConflictError: It is on record with other inputs.
        """
        with self._reading() as session:
            row = session.get(ProbeRow, (job_id, key))
            if row is None:
                return None
            if row.fingerprint != fingerprint:
                raise ConflictError(
                    f"a probe that is on record has the same inputs when its job is run again, got others for "
                    f"{key} of job {job_id}: {USE_NEW}"
                )
            return probe_record(row)

    def record_probe(self, job_id: str, leg: Leg, result: LegResult, fingerprint: str) -> ProbeRecord:
        """Put what a probe found out on record, for good.

        Raises:
            NotFoundError: The job is not there.
            ConflictError: The job is not running, or the probe is on record.
        """
        (member,) = result.members
        with self._changing(job_id) as (session, job):
            if job.state != JobState.RUNNING or session.get(ProbeRow, (job_id, leg.key)) is not None:
                raise ConflictError(
                    f"a probe is recorded once, for a running job, got {leg.key} for job {job_id}, which is "
                    f"{job.state}: two processes run the job"
                )
            row = ProbeRow(
                job_id=job_id,
                key=leg.key,
                kind=leg.kind,
                report=None if member.report is None else dict(member.report),
                message=member.message,
                fingerprint=fingerprint,
                slot=result.slot,
                device=result.device,
                wall_s=result.wall_s,
                recorded_at=self._now(session),
            )
            session.add(row)
            session.flush()
            return probe_record(row)

    def probes(self, job_id: str) -> tuple[ProbeRecord, ...]:
        """List the probes of a job by key."""
        query = select(ProbeRow).where(ProbeRow.job_id == job_id).order_by(ProbeRow.key)
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(probe_record(row) for row in session.scalars(query))
