"""What a job has found: stages, trials, the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from service.api.auth import Caller, Viewer
from service.api.openapi import problems
from service.api.problems import ProblemError
from service.api.routes.common import (
    MAX_NUMBER,
    PREFIX,
    AsJson,
    Cursor,
    JobId,
    Limit,
    find_job,
    find_job_now,
    number_after,
)
from service.api.schemas import Best, Page, Stage, Trial
from service.api.state import State, StateOf
from service.api.views import Document, Json, best_view, page_view, stage_view, trial_view
from service.errors import NotFoundError
from service.store import TimedMeasurement

router = APIRouter(prefix=f"{PREFIX}/jobs/{{job_id}}", tags=["results"], dependencies=[AsJson])


@router.get(
    "/stages",
    operation_id="list_stages",
    summary="List a job's stages",
    response_model=Page[Stage],
    responses=problems("not_found"),
)
async def list_stages(state: StateOf, caller: Viewer, job_id: JobId) -> Response:
    """List the stages of the plan in order, all on one page; none before the plan is recorded."""

    def stages() -> Document:
        job = find_job_now(state, caller, job_id)
        return page_view(map(stage_view, state.store.stages(job.id)))

    return Json(await state.threads.run(stages))


@router.get(
    "/trials",
    operation_id="list_trials",
    summary="List a job's trials",
    response_model=Page[Trial],
    responses=problems("not_found"),
)
async def list_trials(
    *,
    state: StateOf,
    caller: Viewer,
    job_id: JobId,
    measurements: Annotated[bool, Query(description="with every epoch's metrics, and health")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List trials by number, a page at a time."""
    after = number_after(cursor)
    return Json(
        await state.threads.run(_trials, state, caller, job_id, whole=measurements, limit=limit, after=after)
    )


def _trials(state: State, caller: Caller, job_id: str, *, whole: bool, limit: int, after: int | None) -> Document:
    job = find_job_now(state, caller, job_id)
    found = state.store.trials(job.id, after=after, limit=limit + 1)
    trials = found[:limit]
    numbers = [trial.number for trial in trials]
    measured: Mapping[int, Sequence[TimedMeasurement]] = (
        state.store.measurements_of(job.id, numbers) if whole else state.store.best_measurements(job.id, numbers)
    )
    items = [trial_view(trial, measured[trial.number], whole=whole) for trial in trials]
    return page_view(items, str(numbers[-1]) if len(found) > limit else None)


@router.get(
    "/trials/{number}",
    operation_id="get_trial",
    summary="Show a trial",
    response_model=Trial,
    responses=problems("not_found"),
)
async def get_trial(
    state: StateOf,
    caller: Viewer,
    job_id: JobId,
    number: Annotated[int, Path(ge=0, le=MAX_NUMBER, description="of the trial in its job, from 0")],
) -> Response:
    """Show a trial with the metrics of every epoch."""

    def trial() -> Document:
        job = find_job_now(state, caller, job_id)
        try:
            found = state.store.trial(job.id, number)
        except NotFoundError:
            raise ProblemError(
                "not_found", f"job {job.id} has no trial {number}: GET its trials lists them"
            ) from None
        return trial_view(found, state.store.measurements(job.id, number), whole=True)

    return Json(await state.threads.run(trial))


@router.get(
    "/best",
    operation_id="get_best",
    summary="Show a job's winner",
    response_model=Best,
    responses=problems("not_found", "conflict"),
)
async def get_best(state: StateOf, caller: Viewer, job_id: JobId) -> Response:
    """Show the winner of a job that has completed, with what the test split said of it."""
    job = await find_job(state, caller, job_id)
    if job.result is None or job.best_trial is None:
        reason = f" ({job.message})" if job.message else ""
        remedy = (
            "resume it" if job.state == "failed" else "submit it again" if job.state == "cancelled" else "wait"
        )
        raise ProblemError(
            "conflict", f"a winner is known when a job has completed, {job.id} is {job.state}{reason}: {remedy}"
        )
    return Json(best_view(job))
