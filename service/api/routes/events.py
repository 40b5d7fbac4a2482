"""A job's events: as a stream that follows the job, or page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from service.api.auth import Viewer
from service.api.bodies import JSON
from service.api.negotiation import offers
from service.api.openapi import problems, stream
from service.api.routes.common import MAX_NUMBER, PREFIX, JobId, Limit, find_job
from service.api.schemas import Event, Page
from service.api.state import State, StateOf
from service.api.views import Json, event_view, page_view
from service.store import JobRecord

SSE = "text/event-stream"

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"])


class EventStream(StreamingResponse):
    """The events of a job as they happen, with one of the places for streams from its first byte to its last.

    Args:
        state: Of the application.
        job: Whose events.
        after: The last number that the client has seen; -1 for none.

    Raises:
        ProblemError: All places are taken.
    """

    media_type = SSE

    def __init__(self, state: State, job: JobRecord, *, after: int) -> None:
        self._seat = ExitStack()
        feed = self._seat.enter_context(state.watchers.seat(job.id))
        events = state.watchers.watch(job, feed, after=after)

        async def pieces() -> AsyncIterator[bytes]:
            yield format_sse_event(comment=f"events of job {job.id}")  # headers pass proxies with the first byte
            async for event in events:
                if event is None:
                    yield format_sse_event(comment="heartbeat")
                else:
                    data = to_json(event_view(event), inf_nan_mode="null").decode()
                    yield format_sse_event(id=str(event.number), event=event.kind, data_str=data)

        super().__init__(pieces(), headers={"X-Accel-Buffering": "no"})  # nginx would keep events back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; however it ends, its place is free then."""
        with self._seat:
            await super().__call__(scope, receive, send)


@router.get(
    "/{job_id}/events",
    operation_id="list_events",
    summary="Follow a job, or list its events",
    response_model=Page[Event],
    responses={
        200: {
            "description": "With `Accept: text/event-stream` a stream (`id`: the number, `event`: the kind, "
            "`data`: the event as JSON) that ends behind the job's final state; else a page, whose `next_cursor` "
            "goes into `after`.",
            "content": stream("", SSE)["content"],
        },
        **problems("not_found"),
    },
)
async def list_events(
    *,
    state: StateOf,
    caller: Viewer,
    job_id: JobId,
    media_type: Annotated[str, Depends(offers(JSON, SSE))],
    after: Annotated[
        int | None, Query(ge=-1, le=MAX_NUMBER, description="only events behind this number; default: all")
    ] = None,
    limit: Limit = 100,
    last_event_id: Annotated[
        int,
        Header(ge=-1, le=MAX_NUMBER, description="the last number that you have seen; goes before `after`"),
    ] = -1,
) -> Response:
    """Follow a job: who has seen event n misses nothing by asking for what comes behind n, from any server."""
    job = await find_job(state, caller, job_id)
    seen = last_event_id if last_event_id >= 0 or after is None else after
    if media_type == SSE:
        return EventStream(state, job, after=seen)
    found = await state.threads.run(state.store.events, job.id, after=seen, limit=limit + 1)
    events = found[:limit]
    return Json(page_view(map(event_view, events), str(events[-1].number) if len(found) > limit else None))
