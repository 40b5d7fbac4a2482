"""What a job will do and has asked for: its plan, stages, rounds and trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import ConflictError
from service.store.database import Database
from service.store.records import NewStage, NewTrial, RoundRecord, StageRecord, TrialRecord
from service.store.rows import (
    USE_NEW,
    get_job,
    get_stage,
    get_trial,
    get_trials,
    round_record,
    stage_record,
    trial_record,
)
from service.store.states import StageState, TrialState
from service.store.tables import RoundRow, StageRow, TrialRow


class Plans(Database):
    """What the store knows about a job's plan, and how far it has come."""

    def record_plan(
        self,
        job_id: str,
        *,
        plan: Mapping[str, Any],
        stages: Sequence[NewStage],
        metric: str,
        mode: Literal["min", "max"],
        data_fingerprint: str,
    ) -> None:
        """Put on record what the job will do; when the job is run again, verify that it is the same.

        Raises:
            ConflictError: Another plan, metric or data is on record.
        """
        with self._changing(job_id) as (session, row):
            if row.plan is None:
                row.plan, row.metric, row.mode = dict(plan), metric, mode
                row.data_fingerprint = data_fingerprint
                session.add_all(
                    StageRow(
                        job_id=job_id,
                        number=stage.number,
                        name=stage.name,
                        opens=list(stage.opens),
                        why=stage.why,
                        state=StageState.PENDING,
                    )
                    for stage in stages
                )
                opened = [{"number": s.number, "name": s.name, "opens": list(s.opens)} for s in stages]
                self._note(session, row, "plan", {"stages": opened, "metric": metric, "mode": mode})
                return
            if row.data_fingerprint != data_fingerprint:
                raise ConflictError(
                    f"a job goes on with the data it began with and the bundle it starts from, got other data or "
                    f"another bundle for job {job_id}: bring it back, or start another with --new"
                )
            known = tuple(stage_record(stage) for stage in _stage_rows(session, job_id))
            old = [(stage.number, stage.name, stage.opens, stage.why) for stage in known]
            new = [(stage.number, stage.name, tuple(stage.opens), stage.why) for stage in stages]
            if (row.plan, row.metric, row.mode, old) != (dict(plan), metric, mode, new):
                raise ConflictError(f"a job goes on with its plan, got another one for job {job_id}: {USE_NEW}")

    def stages(self, job_id: str) -> tuple[StageRecord, ...]:
        """List the stages of a job in their order."""
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(stage_record(row) for row in _stage_rows(session, job_id))

    def record_stage_outcome(
        self, job_id: str, number: int, outcome: Mapping[str, Any], *, skipped: bool = False
    ) -> None:
        """Say how a stage ended; the same again changes nothing.

        Args:
            job_id: The job.
            number: The stage's number.
            outcome: JSON that follows from the spec and the measurements, without times: a job that is run again
                must come to the same.
            skipped: The stage was left out.

        Raises:
            NotFoundError: The plan has no such stage.
            ConflictError: Another outcome is on record, or the stage has rounds and is called skipped.
        """
        to = StageState.SKIPPED if skipped else StageState.COMPLETED
        with self._changing(job_id) as (session, job):
            row = get_stage(session, job_id, number)
            if row.outcome is not None:
                if (row.state, row.outcome) != (to, dict(outcome)):
                    raise ConflictError(f"stage {number} of job {job_id} ended in another way before: {USE_NEW}")
                return
            if not skipped and row.state == StageState.PENDING:
                row.state = StageState.RUNNING
                session.flush()
            row.state, row.outcome = to, dict(outcome)
            told = {"number": number, "name": row.name, "state": str(to), "outcome": dict(outcome)}
            self._note(session, job, "stage", told)

    def record_round(
        self, job_id: str, *, stage: int, round_number: int, trials: Sequence[NewTrial], rungs: Sequence[int]
    ) -> None:
        """Put a round's candidates on record; they are pending. When the job is run again, verify them.

        Raises:
            NotFoundError: The plan has no such stage.
            ConflictError: The round is on record with other candidates or rungs, or a number is taken.
        """
        with self._changing(job_id) as (session, job):
            known = session.get(RoundRow, (job_id, round_number))
            if known is not None:
                self._verify_round(session, known, stage, trials, rungs)
                return
            row = get_stage(session, job_id, stage)
            if row.state == StageState.PENDING:
                row.state = StageState.RUNNING
            numbers = [trial.number for trial in trials]
            in_job = TrialRow.job_id == job_id
            taken = set(session.scalars(select(TrialRow.number).where(in_job, TrialRow.number.in_(numbers))))
            if taken or len(set(numbers)) != len(numbers):
                raise ConflictError(
                    f"a trial's number stands once in its job, got {numbers} for round {round_number} of job "
                    f"{job_id}, taken before: {sorted(taken)}: number trials on from the round before"
                )
            session.add(RoundRow(job_id=job_id, number=round_number, stage=stage, rungs=list(rungs)))
            session.flush()
            now = self._now(session)
            session.add_all(
                TrialRow(
                    job_id=job_id,
                    number=trial.number,
                    stage=stage,
                    round=round_number,
                    params=dict(trial.params),
                    seed=trial.seed,
                    state=TrialState.PENDING,
                    epochs=0,
                    num_legs=0,
                    created_at=now,
                )
                for trial in trials
            )
            told = {"number": round_number, "stage": stage, "trials": sorted(numbers), "rungs": list(rungs)}
            self._note(session, job, "round", told)

    def rounds(self, job_id: str) -> tuple[RoundRecord, ...]:
        """List the rounds of a job in their order."""
        query = select(RoundRow).where(RoundRow.job_id == job_id).order_by(RoundRow.number)
        with self._reading() as session:
            get_job(session, job_id)
            return tuple(round_record(row) for row in session.scalars(query))

    def trials(
        self, job_id: str, *, after: int | None = None, limit: int | None = None
    ) -> tuple[TrialRecord, ...]:
        """List the trials of a job by number.

        Args:
            job_id: The job.
            after: The last number of the page before; None for the first page.
            limit: At most this many; None for all.
        """
        query = (
            select(TrialRow)
            .where(TrialRow.job_id == job_id, TrialRow.number > (-1 if after is None else after))
            .order_by(TrialRow.number)
            .limit(limit)
        )
        with self._asking() as session:
            get_job(session, job_id)
            return tuple(trial_record(row) for row in session.scalars(query))

    def trial(self, job_id: str, number: int) -> TrialRecord:
        """Find a trial by its number.

        Raises:
            NotFoundError: The job has no such trial.
        """
        with self._asking() as session:
            get_job(session, job_id)
            return trial_record(get_trial(session, job_id, number))

    def stop_trials(self, job_id: str, numbers: Iterable[int]) -> None:
        """Stop trials at a rung; those that are stopped already stay so.

        Raises:
            NotFoundError: The job has no such trial.
            ConflictError: One of them is not running. Then none is stopped.
        """
        with self._changing(job_id) as (session, job):
            now = self._now(session)
            stopped = []
            for row in get_trials(session, job_id, list(numbers)):
                if row.state == TrialState.STOPPED:
                    continue
                if row.state != TrialState.RUNNING:
                    raise ConflictError(
                        f"only a running trial is stopped at a rung, got trial {row.number} of job {job_id}, "
                        f"which is {row.state}: {USE_NEW}"
                    )
                row.state, row.ended_at = TrialState.STOPPED, now
                stopped.append(row.number)
            if stopped:
                self._note(session, job, "rung", {"stopped": stopped})

    @staticmethod
    def _verify_round(
        session: Session, known: RoundRow, stage: int, trials: Sequence[NewTrial], rungs: Sequence[int]
    ) -> None:
        query = select(TrialRow).where(TrialRow.job_id == known.job_id, TrialRow.round == known.number)
        rows = session.scalars(query.order_by(TrialRow.number)).all()
        old = [(row.number, row.params, row.seed) for row in rows]
        new = sorted(
            ((trial.number, dict(trial.params), trial.seed) for trial in trials), key=lambda trial: trial[0]
        )
        if (known.stage, known.rungs, old) != (stage, list(rungs), new):
            differ = [str(ours[0]) for ours, theirs in zip(new, old, strict=False) if ours != theirs]
            raise ConflictError(
                f"a round that is on record comes out the same when its job is run again, got another round "
                f"{known.number} for job {known.job_id} (trials that differ: {', '.join(differ) or 'none'}): "
                f"{USE_NEW}"
            )


def _stage_rows(session: Session, job_id: str) -> Sequence[StageRow]:
    return session.scalars(select(StageRow).where(StageRow.job_id == job_id).order_by(StageRow.number)).all()
