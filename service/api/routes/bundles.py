"""Bundles: asked for, listed, and sent as archives."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.auth import Caller, Submitter, Viewer
from service.api.bodies import read_model
from service.api.bundles import MEDIA_TYPE, BundleArchive
from service.api.negotiation import offers
from service.api.openapi import Responses, json_body, problems, stream
from service.api.problems import ProblemError
from service.api.routes.common import MAX_NUMBER, PREFIX, AsJson, JobId, find_job_now
from service.api.schemas import BundleExport, ExportRequest, Page
from service.api.state import State, StateOf
from service.api.views import Document, Json, export_view, page_view
from service.errors import NotFoundError
from service.store import ExportRecord, ExportState, JobRecord

router = APIRouter(prefix=f"{PREFIX}/jobs/{{job_id}}", tags=["bundles"])

ExportId = Annotated[int, Path(ge=0, le=MAX_NUMBER, description="of an export of this job")]
_ARCHIVE: Responses = {
    200: stream("A .tar.gz with the bundle's folder; the same bytes for the same bundle", MEDIA_TYPE)
}


@router.post(
    "/exports",
    operation_id="request_export",
    summary="Ask for a bundle",
    status_code=202,
    response_model=BundleExport,
    responses={
        202: {
            "description": "A worker writes it",
            "headers": {"Location": {"description": "of the export", "schema": {"type": "string"}}},
        },
        **problems("not_found", "conflict", "bad_request", "too_large", "unsupported_media_type"),
    },
    openapi_extra=json_body(ExportRequest, required=False),
    dependencies=[AsJson],
)
async def request_export(request: Request, state: StateOf, caller: Submitter, job_id: JobId) -> Response:
    """Have the winner's bundle written again, such as with other formats. The test split is not read again."""
    wanted = await read_model(request, ExportRequest) if await request.body() else ExportRequest()

    def ask() -> ExportRecord:
        job = find_job_now(state, caller, job_id)
        return state.store.request_export(job.id, wanted.formats, by=caller.actor)

    export = await state.threads.run(ask)
    location = f"{PREFIX}/jobs/{export.job_id}/exports/{export.id}"
    return Json(export_view(export), status_code=202, headers={"Location": location})


@router.get(
    "/exports",
    operation_id="list_exports",
    summary="List a job's bundles",
    response_model=Page[BundleExport],
    responses=problems("not_found"),
    dependencies=[AsJson],
)
async def list_exports(state: StateOf, caller: Viewer, job_id: JobId) -> Response:
    """List the bundles of a job, oldest first, all on one page."""

    def exports() -> Document:
        job = find_job_now(state, caller, job_id)
        return page_view(map(export_view, state.store.exports(job.id)))

    return Json(await state.threads.run(exports))


@router.get(
    "/exports/{export_id}",
    operation_id="get_export",
    summary="Show a bundle's state",
    response_model=BundleExport,
    responses=problems("not_found"),
    dependencies=[AsJson],
)
async def get_export(state: StateOf, caller: Viewer, job_id: JobId, export_id: ExportId) -> Response:
    """Say whether a bundle is there."""

    def export() -> ExportRecord:
        return _find_export(state, find_job_now(state, caller, job_id), export_id)

    return Json(export_view(await state.threads.run(export)))


@router.get(
    "/exports/{export_id}/bundle",
    operation_id="get_export_bundle",
    summary="Fetch a bundle",
    response_class=Response,
    responses={**_ARCHIVE, **problems("not_found", "conflict")},
    dependencies=[Depends(offers(MEDIA_TYPE))],
)
async def get_export_bundle(state: StateOf, caller: Viewer, job_id: JobId, export_id: ExportId) -> Response:
    """Fetch one bundle of a job."""

    def find() -> Archive:
        job = find_job_now(state, caller, job_id)
        return _archive(state, job, _find_export(state, job, export_id))

    return await state.threads.run(find)


@router.get(
    "/bundle",
    operation_id="get_bundle",
    summary="Fetch the latest bundle",
    response_class=Response,
    responses={**_ARCHIVE, **problems("not_found", "conflict")},
    dependencies=[Depends(offers(MEDIA_TYPE))],
)
async def get_bundle(state: StateOf, caller: Viewer, job_id: JobId) -> Response:
    """Fetch the job's latest bundle."""
    return await state.threads.run(_latest, state, caller, job_id)


def _latest(state: State, caller: Caller, job_id: str) -> Archive:
    job = find_job_now(state, caller, job_id)
    written = [export for export in state.store.exports(job.id) if export.state == ExportState.COMPLETED]
    if not written:
        raise ProblemError(
            "conflict", f"a bundle is there when a job has completed, {job.id} is {job.state}: wait for it"
        )
    return _archive(state, job, written[-1])


def _find_export(state: State, job: JobRecord, export_id: int) -> ExportRecord:
    try:
        return state.store.export(job.id, export_id)
    except NotFoundError:
        raise ProblemError(
            "not_found", f"job {job.id} has no export {export_id}: GET its exports lists them"
        ) from None


def _archive(state: State, job: JobRecord, export: ExportRecord) -> Archive:
    if export.state != ExportState.COMPLETED or export.path is None:
        reason = f" ({export.message})" if export.message else ""
        raise ProblemError(
            "conflict", f"a bundle can be fetched when it is written, this one is {export.state}{reason}: wait"
        )
    return Archive(BundleArchive(FilePath(export.path), below=state.settings.places.bundles, name=_name(job)))


def _name(job: JobRecord) -> str:
    return f"{job.name}-{job.id}"


class Archive(StreamingResponse):
    """A bundle on its way; its files are closed however that ends."""

    media_type = MEDIA_TYPE

    def __init__(self, archive: BundleArchive) -> None:
        self._archive = archive
        super().__init__(
            iter(archive), headers={"Content-Disposition": f'attachment; filename="{archive.name}.tar.gz"'}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the archive."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._archive.close()
