"""The application: its parts, its routes, and what becomes of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.api.dry_runs import DryRuns
from service.api.edge import Edge
from service.api.limits import RateLimits
from service.api.metrics import Metrics
from service.api.openapi import TITLE, describe
from service.api.problems import ProblemError, as_problem, invalid_request, problem_response
from service.api.routes import ROUTERS
from service.api.state import State
from service.api.threads import Threads
from service.api.watchers import Watchers, polling
from service.errors import StoreUnavailableError, TuneladderError
from service.settings import Settings
from service.store import Store

log = structlog.get_logger("tuneladder.api")

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    503: "unavailable",
}


def create_app(settings: Settings, store: Store) -> FastAPI:
    """Make the application.

    Args:
        settings: Of the server.
        store: Open; whoever made it closes it.
    """
    threads = Threads()
    state = State(
        settings=settings,
        store=store,
        threads=threads,
        rates=RateLimits(per_minute=settings.rate_per_minute, burst=settings.rate_burst),
        watchers=Watchers(
            store,
            threads,
            poll_s=settings.watch_poll_s,
            heartbeat_s=settings.heartbeat_s,
            max_watchers=settings.max_watchers,
        ),
        dry_runs=DryRuns(settings.store_url(), limit_s=settings.plan_timeout_s, max_at_once=settings.max_plans),
        metrics=Metrics(),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with polling(state.watchers):
            yield

    app = FastAPI(
        title=TITLE,
        version=version("tuneladder"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            ProblemError: _on_problem,
            TuneladderError: _on_own_error,
            RequestValidationError: _on_invalid_request,
            HTTPException: _on_http_exception,
        },
    )
    app.state.parts = state
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = cache(lambda: describe(app, ROUTERS))  # type: ignore[method-assign]
    app.add_middleware(Edge, metrics=state.metrics, max_body_bytes=settings.max_body_bytes)
    return app


async def _on_problem(request: Request, error: ProblemError) -> Response:
    return problem_response(error, request.url.path)


async def _on_own_error(request: Request, error: TuneladderError) -> Response:
    problem = as_problem(error)
    if problem.code == "internal" or isinstance(error, StoreUnavailableError):
        _log_fault(request, error)
    return problem_response(problem, request.url.path)


async def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    return problem_response(invalid_request(error), request.url.path)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    """Answer what the framework found: no such route, another method, a body over the limit."""
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == 404:
        detail = "no route has this path: GET /openapi.json describes them"
    elif error.status_code == 405:
        methods = _methods(request.url.path) or ["GET"]  # of the description itself
        headers["Allow"] = ", ".join(methods)
        detail = f"this path knows {', '.join(methods)}, got {request.method[:20]}: use one of them"
    code = _CODES.get(error.status_code, "internal")
    return problem_response(ProblemError(code, detail, headers=headers), request.url.path)


def _methods(path: str) -> list[str]:
    """List the methods of a path, which may belong to several routes."""
    routes = (route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute))
    return sorted({method for route in routes if route.path_regex.match(path) for method in route.methods or ()})


def _log_fault(request: Request, error: Exception) -> None:
    log.error("the store or the service failed", error=str(error), request_id=request.state.request_id)
