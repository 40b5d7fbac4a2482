"""What happens to every request before and behind the application: an id, a limit, a line in the log, a count."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import Metrics
from service.api.problems import ProblemError, problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines

log = structlog.get_logger("tuneladder.access")


class TooLargeError(HTTPException):
    """A body is over the limit; raised where the application reads it."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"a body has at most {limit} bytes, this one has more: send less")


class Edge:
    """The outermost part of the application.

    Args:
        app: The rest.
        metrics: Counts answers.
        max_body_bytes: Of a request, whatever its headers say.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        exchange = _Exchange(request, receive, send, max_body_bytes=self._max_body_bytes)
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("a request failed", request_id=exchange.request_id, path=request.url.path)
            if exchange.status is not None:
                raise  # half an answer is out: the connection must break
            problem = ProblemError(
                "internal", "the server has a fault: its log says more, under this request's id"
            )
            await problem_response(problem, request.url.path)(scope, receive, exchange.send)
        finally:
            self._tell(request, exchange)

    def _tell(self, request: Request, exchange: _Exchange) -> None:
        route = getattr(request.scope.get("route"), "path", "none")
        seconds = exchange.answered_s if exchange.answered_s is not None else exchange.seconds
        status = exchange.status or 499  # the client had gone before there was an answer
        # Methods are as free as texts, and each new one would be kept for ever.
        method = request.method if request.method in _METHODS else "other"
        self._metrics.count_request(route=route, method=method, status=status, seconds=seconds)
        if request.url.path in _QUIET and status < 400:
            return
        token = getattr(request.state, "token", None)
        log.info(
            "request",
            request_id=exchange.request_id,
            method=request.method,
            path=request.url.path,
            status=status,
            seconds=round(exchange.seconds, 4),
            num_bytes=exchange.num_bytes,
            client=request.client.host if request.client else None,
            owner=token.owner if token else None,
            token_id=token.id if token else None,
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


class _Exchange:
    """One request and its answer, as they pass by."""

    def __init__(self, request: Request, receive: Receive, send: Send, *, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._announced = _content_length(request)
        self._num_received = 0
        self._began = time.perf_counter()
        self.request_id = _request_id(request)
        self.status: int | None = None
        self.answered_s: float | None = None
        self.num_bytes = 0

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.perf_counter() - self._began

    async def receive(self) -> Message:
        if self._announced > self._max_body_bytes:
            raise TooLargeError(self._max_body_bytes)
        message = await self._receive()
        if message["type"] == "http.request":
            self._num_received += len(message.get("body", b""))
            if self._num_received > self._max_body_bytes:
                raise TooLargeError(self._max_body_bytes)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.answered_s = message["status"], self.seconds
            message = {**message, "headers": [*message.get("headers", ()), *self._headers(message["status"])]}
        elif message["type"] == "http.response.body":
            self.num_bytes += len(message.get("body", b""))
        await self._send(message)

    def _headers(self, status: int) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", self.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),  # answers depend on the token and on the moment
        ]
        # What is left of a body that is too large is not read: the connection cannot be used again.
        return [*headers, (b"connection", b"close")] if status == 413 else headers


def _request_id(request: Request) -> str:
    given: Any = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _content_length(request: Request) -> int:
    """Read how long the body is said to be; 0 where nothing is said."""
    digits = request.headers.get("content-length", "")
    return int(digits[:19]) if digits.isascii() and digits.isdigit() else 0
