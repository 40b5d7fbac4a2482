"""Who may do what: tokens, the audit, and who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.api.auth import Admin, Viewer
from service.api.bodies import read_model
from service.api.openapi import json_body, problems
from service.api.problems import ProblemError
from service.api.routes.common import PREFIX, AsJson, Cursor, Limit, number_after
from service.api.schemas import AuditEntry, Me, NewToken, Page, Token, TokenRequest
from service.api.state import StateOf
from service.api.views import Json, audit_view, page_view, token_view
from service.errors import InvalidSpecError, NotFoundError

router = APIRouter(prefix=PREFIX, tags=["access"], dependencies=[AsJson])

Owner = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._@-]{1,100}$", description="only of this owner")]


@router.get("/me", operation_id="get_me", summary="Show who you are", response_model=Me, responses=problems())
async def get_me(caller: Viewer) -> Response:
    """Show the owner and the role of the token that asks."""
    token = caller.token
    return Json(
        {
            "owner": token.owner,
            "role": token.role,
            "name": token.name,
            "token_id": token.id,
            "expires_at": token.expires_at,
        }
    )


@router.post(
    "/tokens",
    operation_id="create_token",
    summary="Make a token",
    status_code=201,
    response_model=NewToken,
    responses=problems("bad_request", "too_large", "unsupported_media_type"),
    openapi_extra=json_body(TokenRequest),
)
async def create_token(request: Request, state: StateOf, caller: Admin) -> Response:
    """Make a token. Its secret is in this answer and nowhere else: the server keeps a hash."""
    wanted = await read_model(request, TokenRequest)
    if wanted.expires_at is not None and wanted.expires_at.tzinfo is None:
        raise ProblemError(
            "invalid_request",
            "a moment has a time zone, such as 2030-01-01T00:00:00Z: add it",
            field="body.expires_at",
        )
    try:
        token, secret = await state.threads.run(
            state.store.create_token, wanted.name, wanted.owner, wanted.role, wanted.expires_at, by=caller.actor
        )
    except InvalidSpecError as error:
        raise ProblemError(
            "invalid_request", str(error).removeprefix(f"{error.field}: "), field=f"body.{error.field}"
        ) from None
    return Json(token_view(token) | {"token": secret}, status_code=201)


@router.get(
    "/tokens",
    operation_id="list_tokens",
    summary="List tokens",
    response_model=Page[Token],
    responses=problems(),
)
async def list_tokens(state: StateOf, caller: Admin, owner: Owner = None) -> Response:
    """List tokens without their secrets, newest first, all on one page; revoked ones stay on record."""
    return Json(page_view(map(token_view, await state.threads.run(state.store.tokens, owner))))


@router.delete(
    "/tokens/{token_id}",
    operation_id="revoke_token",
    summary="Revoke a token",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is good for nothing from now on"}, **problems("not_found")},
)
async def revoke_token(
    state: StateOf,
    caller: Admin,
    token_id: Annotated[str, Path(pattern=r"^[0-9a-z]{1,32}$", description="of a token; not its secret")],
) -> Response:
    """End a token for good; one that was revoked before stays so."""
    try:
        await state.threads.run(state.store.revoke_token, token_id, by=caller.actor)
    except NotFoundError:
        raise ProblemError("not_found", f"no token has the id {token_id!r}: GET /v1/tokens lists them") from None
    return Response(status_code=204)


@router.get(
    "/audit",
    operation_id="list_audit",
    summary="List who changed what",
    response_model=Page[AuditEntry],
    responses=problems(),
)
async def list_audit(
    *,
    state: StateOf,
    caller: Admin,
    owner: Owner = None,
    job_id: Annotated[str | None, Query(pattern=r"^[0-9a-z]{1,32}$", description="only about this job")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the changes that were asked for, newest first."""
    found = await state.threads.run(
        state.store.audit, limit=limit + 1, after=number_after(cursor), owner=owner, job_id=job_id
    )
    entries = found[:limit]
    return Json(page_view(map(audit_view, entries), str(entries[-1].id) if len(found) > limit else None))
