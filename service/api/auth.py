"""Who asks, and what they may do. A token's secret is looked up by its hash and never kept or logged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.problems import ProblemError
from service.api.state import StateOf
from service.store import Actor, Role, TokenRecord

_SECRET = re.compile(r"tl_[A-Za-z0-9_-]{43}")
_RANKS = (Role.VIEWER, Role.SUBMITTER, Role.ADMIN)
_bearer = HTTPBearer(
    auto_error=False, scheme_name="token", bearerFormat="tl_...", description="Made by an administrator."
)


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    token: TokenRecord

    @property
    def is_admin(self) -> bool:
        """Whether jobs of all owners are theirs to see and steer."""
        return self.token.role == Role.ADMIN

    @property
    def owner(self) -> str:
        """Whose jobs they may see."""
        return self.token.owner

    @property
    def scope(self) -> str | None:
        """The owner whose jobs alone they may see; None for all."""
        return None if self.is_admin else self.owner

    @property
    def actor(self) -> Actor:
        """Who is named in the audit."""
        return Actor(owner=self.token.owner, token_id=self.token.id)


async def get_caller(
    request: Request,
    state: StateOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Find out who sent a request.

    Raises:
        ProblemError: There is no token, it is not valid, or it asks too often.
    """
    secret = credentials.credentials if credentials else ""
    token = await state.threads.run(state.store.authenticate, secret) if _SECRET.fullmatch(secret) else None
    if token is None:
        state.rates.count(f"address {request.client.host if request.client else ''}")
        said = "this one is unknown, revoked or over" if credentials else "there is none"
        raise ProblemError(
            "unauthorized",
            f"a request needs a valid token, {said}: send Authorization: Bearer tl_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    request.state.token = token  # for the log
    state.rates.count(f"token {token.id}")
    return Caller(token)


@dataclass(frozen=True)
class AtLeast:
    """The dependency that lets a role pass, and those above it."""

    role: Role

    async def __call__(self, caller: Annotated[Caller, Depends(get_caller)]) -> Caller:
        """Give the caller.

        Raises:
            ProblemError: Their role is too low.
        """
        if _RANKS.index(caller.token.role) < _RANKS.index(self.role):
            raise ProblemError(
                "forbidden",
                f"this is for the role {self.role}, the token's is {caller.token.role}: ask an administrator",
            )
        return caller


Viewer = Annotated[Caller, Depends(AtLeast(Role.VIEWER))]
Submitter = Annotated[Caller, Depends(AtLeast(Role.SUBMITTER))]
Admin = Annotated[Caller, Depends(AtLeast(Role.ADMIN))]
