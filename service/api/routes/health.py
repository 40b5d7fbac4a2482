"""For probes and Prometheus."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Response

from service.api import metrics
from service.api.auth import Viewer
from service.api.openapi import problems, stream
from service.api.problems import ProblemError
from service.api.schemas import Health, Ready
from service.api.state import State, StateOf
from service.api.views import Json

router = APIRouter(tags=["health"])

MISSED_LEASES = 3  # a worker says at every third of a lease that it is there: it has missed nine times then


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Does the process answer?",
    response_model=Health,
    responses=problems(anonymous=True),
)
async def get_health() -> Response:
    """Answer, whatever else is wrong."""
    return Json({"status": "ok", "version": version("tuneladder")})


@router.get(
    "/readyz",
    operation_id="get_ready",
    summary="Can it serve?",
    response_model=Ready,
    responses=problems(anonymous=True),
)
async def get_ready(state: StateOf) -> Response:
    """Ask the store. Without a worker jobs are taken, and wait: `num_workers` is 0 then."""
    try:
        num_workers = await state.threads.run(_num_workers, state)
    except Exception:
        raise ProblemError("unavailable", "the store does not answer", headers={"Retry-After": "2"}) from None
    return Json({"status": "ready", "num_workers": num_workers})


def _num_workers(state: State) -> int:
    return len(state.store.workers(seen_within_s=MISSED_LEASES * state.settings.lease_s))


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: stream("Prometheus' text format", "text/plain"), **problems()},
)
async def get_metrics(state: StateOf, caller: Viewer) -> Response:
    """Requests by route, method and status with their latency; jobs by state; the queue; watchers; workers."""

    def text() -> bytes:
        return state.metrics.text(
            num_jobs=state.store.num_jobs(), num_workers=_num_workers(state), num_watchers=state.watchers.num
        )

    return Response(await state.threads.run(text), media_type=metrics.MEDIA_TYPE)
