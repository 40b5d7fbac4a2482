"""Errors as `application/problem+json` (RFC 9457): every answer that is no success has this one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from service.errors import (
    ConflictError,
    ForbiddenFieldError,
    IdempotencyConflictError,
    InvalidSpecError,
    NotFoundError,
    StoreUnavailableError,
    TuneladderError,
)

MEDIA_TYPE = "application/problem+json"
LONGEST_DETAIL = 2000  # characters; a value that somebody sent may be as long as a body


@dataclass(frozen=True)
class Kind:
    """What a code stands for."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "bad_request": Kind(400, "The request cannot be read"),
    "unauthorized": Kind(401, "A valid token is needed"),
    "forbidden": Kind(403, "The token's role does not allow this"),
    "not_found": Kind(404, "There is no such thing"),
    "method_not_allowed": Kind(405, "Another method is needed"),
    "not_acceptable": Kind(406, "The answer comes in another form"),
    "conflict": Kind(409, "The present state forbids this"),
    "idempotency_conflict": Kind(409, "The key stands for another request"),
    "too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body must come in another form"),
    "invalid_spec": Kind(422, "The spec breaks a rule"),
    "forbidden_field": Kind(422, "The spec asks for what this server does not allow"),
    "invalid_request": Kind(422, "A part of the request breaks a rule"),
    "rate_limited": Kind(429, "Too many requests"),
    "internal": Kind(500, "The server has a fault"),
    "unavailable": Kind(503, "The server cannot answer now"),
}


class Problem(BaseModel):
    """What went wrong; `code` is for programs, `detail` names the rule, the value and the remedy."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="the code as a URI", examples=["urn:tuneladder:problem:not_found"])
    title: str = Field(description="the code in words")
    status: int = Field(description="HTTP's status code")
    detail: str = Field(description="what is wrong with this request, and what helps")
    code: str = Field(description="stands for the kind of problem", json_schema_extra={"enum": list(KINDS)})
    instance: str = Field(description="the request's path")
    field: str | None = Field(None, description="dotted path of the field that is wrong, where it is one field")


class ProblemError(Exception):
    """An answer that is a problem.

    Args:
        code: One of KINDS.
        detail: The rule, the value and the remedy.
        field: Dotted path of the field that is wrong.
        headers: Of the answer.
    """

    def __init__(
        self, code: str, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})


def problem_response(error: ProblemError, path: str) -> Response:
    """Make the answer that says what went wrong."""
    kind = KINDS[error.code]
    detail = error.detail
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[:LONGEST_DETAIL]}..."
    body: dict[str, Any] = {
        "type": f"urn:tuneladder:problem:{error.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": _encodable(detail),
        "code": error.code,
        "instance": _encodable(path),
    }
    if error.field:
        body["field"] = _encodable(error.field[:LONGEST_DETAIL])
    return Response(to_json(body), status_code=kind.status, headers=error.headers, media_type=MEDIA_TYPE)


def as_problem(error: TuneladderError) -> ProblemError:
    """Turn an error of the service's own tree into a problem; the one place where the two meet."""
    field = getattr(error, "field", None)
    detail = str(error).removeprefix(f"{field}: ")
    if isinstance(error, InvalidSpecError):
        code = "forbidden_field" if isinstance(error, ForbiddenFieldError) else "invalid_spec"
        return ProblemError(code, detail, field=field)
    if isinstance(error, NotFoundError):
        return ProblemError("not_found", detail)
    if isinstance(error, IdempotencyConflictError):
        return ProblemError("idempotency_conflict", detail, field="header.idempotency-key")
    if isinstance(error, ConflictError):
        return ProblemError("conflict", detail)
    if isinstance(error, StoreUnavailableError):
        # What it says names host and user of the database: that is for the log.
        return ProblemError("unavailable", "the store does not answer: try again", headers={"Retry-After": "2"})
    return ProblemError("internal", "the server has a fault: its log says more, under this request's id")


def invalid_request(error: RequestValidationError) -> ProblemError:
    """Turn what is wrong with path, query or headers into a problem."""
    first = error.errors()[0]
    place, *names = (str(part) for part in first["loc"])
    rule = str(first["msg"]).removeprefix("Value error, ")
    value = repr(first.get("input"))
    got = "" if first["type"] == "missing" else f", got {value[:80]}"
    return ProblemError(
        "invalid_request", f"{rule[0].lower()}{rule[1:]}{got}: change it", field=".".join([place, *names])
    )


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which a text may hold and UTF-8 cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
