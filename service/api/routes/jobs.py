"""Jobs: submitted, listed, shown and steered."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Header, Query, Request, Response

from service.api.auth import Caller, Submitter, Viewer
from service.api.bodies import JSON, YAML_TYPES, check_media_type, read_model
from service.api.openapi import Responses, json_body, problems, spec_body
from service.api.problems import ProblemError
from service.api.routes.common import PREFIX, AsJson, Cursor, JobId, Limit, bad_cursor, find_job, find_job_now
from service.api.schemas import MAX_PRIORITY, Job, ListedJob, Page, PriorityRequest
from service.api.specs import base_folder, read_spec
from service.api.state import State, StateOf
from service.api.views import Document, Json, job_view, listed_job_view, page_view
from service.errors import InvalidSpecError
from service.store import JobRecord, JobSort, JobState, Submission, Wish, job_cursor

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"], dependencies=[AsJson])

Sort = Literal["created", "-created", "updated", "-updated", "priority", "-priority"]
_MOVED: Responses = {
    200: {"description": "It is so already, or has just become so", "model": Job},
    202: {"description": "It will be so at the end of the leg under way", "model": Job},
}


@router.post(
    "",
    operation_id="submit_job",
    summary="Submit a job",
    status_code=201,
    response_model=Job,
    responses={
        200: {"description": "The key was used before, for this job", "model": Job},
        201: {
            "description": "The job is queued",
            "headers": {"Location": {"description": "of the job", "schema": {"type": "string"}}},
        },
        **problems(
            "bad_request",
            "invalid_spec",
            "forbidden_field",
            "idempotency_conflict",
            "too_large",
            "unsupported_media_type",
        ),
    },
    openapi_extra=spec_body(),
)
async def submit_job(
    request: Request,
    state: StateOf,
    caller: Submitter,
    priority: Annotated[int, Query(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="higher ones run first")] = 0,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=r"^[!-~]{1,200}$",
            description="names this request for good, so that it can be sent again safely",
        ),
    ] = None,
) -> Response:
    """Put a job into the queue. With an `Idempotency-Key` the same request can be sent again: there is one job."""
    media_type = check_media_type(request, JSON, *YAML_TYPES)
    body = await request.body()
    submission = await state.threads.run(
        _submit, state, caller, body, media_type, priority=priority, key=idempotency_key
    )
    location = f"{PREFIX}/jobs/{submission.job.id}"
    return Json(
        job_view(submission.job), status_code=201 if submission.is_new else 200, headers={"Location": location}
    )


def _submit(
    state: State, caller: Caller, body: bytes, media_type: str, *, priority: int, key: str | None
) -> Submission:
    spec = read_spec(body, media_type, state.settings)
    fingerprint = spec.fingerprint()
    return state.store.submit_job(
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_fingerprint=fingerprint,
        base_dir=str(base_folder(state.settings)),
        seed=spec.seed,
        owner=caller.owner,
        priority=priority,
        idempotency_key=key,
        request_hash=hashlib.sha256(f"{fingerprint} {priority}".encode()).hexdigest(),
        by=caller.actor,
    )


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs",
    response_model=Page[ListedJob],
    responses=problems(),
)
async def list_jobs(
    *,
    state: StateOf,
    caller: Viewer,
    job_state: Annotated[JobState | None, Query(alias="state", description="only jobs in this state")] = None,
    name: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9._-]{1,100}$", description="only jobs of this name")
    ] = None,
    owner: Annotated[
        str | None, Query(pattern=r"^[A-Za-z0-9._@-]{1,100}$", description="only this owner's; for administrators")
    ] = None,
    sort: Annotated[Sort, Query(description="`-` for descending; `updated` is the time of the last event")] = (
        "-created"
    ),
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the jobs that you may see, page by page. Jobs that come meanwhile repeat none and leave none out."""
    if owner is not None and not caller.is_admin and owner != caller.owner:
        raise ProblemError(
            "forbidden",
            f"jobs of others are for administrators, you are {caller.owner}: leave owner out",
            field="query.owner",
        )
    by = cast(JobSort, sort.removeprefix("-"))

    def page() -> Document:
        found = state.store.job_rows(
            limit=limit + 1,
            after=cursor,
            state=job_state,
            owner=owner or caller.scope,
            name=name,
            sort=by,
            descending=sort.startswith("-"),
        )
        jobs = found[:limit]
        tallies = state.store.tallies([job.id for job in jobs])
        items = [listed_job_view(job, tallies[job.id]) for job in jobs]
        return page_view(items, job_cursor(jobs[-1], by) if len(found) > limit else None)

    try:
        return Json(await state.threads.run(page))
    except InvalidSpecError as error:
        raise bad_cursor(cursor, error) from None


@router.get(
    "/{job_id}", operation_id="get_job", summary="Show a job", response_model=Job, responses=problems("not_found")
)
async def get_job(state: StateOf, caller: Viewer, job_id: JobId) -> Response:
    """Show a whole job: where it stands, its spec, plan and result."""
    return Json(job_view(await find_job(state, caller, job_id)))


def _moved(job: JobRecord) -> Response:
    return Json(job_view(job), status_code=200 if job.wish is None else 202)


def _ask(state: State, caller: Caller, job_id: str, wish: Wish) -> JobRecord:
    job = find_job_now(state, caller, job_id)
    return state.store.ask_for(job.id, wish, by=caller.actor)


@router.post(
    "/{job_id}/pause",
    operation_id="pause_job",
    summary="Pause a job",
    responses={**_MOVED, **problems("not_found", "conflict")},
)
async def pause_job(state: StateOf, caller: Submitter, job_id: JobId) -> Response:
    """Put a job aside: at once, or at the end of the leg under way. Nothing that is on record is lost."""
    return _moved(await state.threads.run(_ask, state, caller, job_id, Wish.PAUSE))


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    responses={**_MOVED, **problems("not_found", "conflict")},
)
async def cancel_job(state: StateOf, caller: Submitter, job_id: JobId) -> Response:
    """End a job for good: at once, or at the end of the leg under way."""
    return _moved(await state.threads.run(_ask, state, caller, job_id, Wish.CANCEL))


@router.post(
    "/{job_id}/resume",
    operation_id="resume_job",
    summary="Resume a job",
    response_model=Job,
    responses=problems("not_found", "conflict"),
)
async def resume_job(state: StateOf, caller: Submitter, job_id: JobId) -> Response:
    """Queue a paused or failed job again; it goes on from its record."""

    def resume() -> JobRecord:
        job = find_job_now(state, caller, job_id)
        return state.store.resume_job(job.id, by=caller.actor)

    return Json(job_view(await state.threads.run(resume)))


@router.put(
    "/{job_id}/priority",
    operation_id="set_priority",
    summary="Set a job's priority",
    response_model=Job,
    responses=problems("not_found", "conflict", "bad_request", "too_large", "unsupported_media_type"),
    openapi_extra=json_body(PriorityRequest),
)
async def set_priority(request: Request, state: StateOf, caller: Submitter, job_id: JobId) -> Response:
    """Say how important a job is. A running job keeps running until a more important one needs its place."""
    wanted = await read_model(request, PriorityRequest)

    def change() -> JobRecord:
        job = find_job_now(state, caller, job_id)
        return state.store.set_priority(job.id, wanted.priority, by=caller.actor)

    return Json(job_view(await state.threads.run(change)))
