"""The local owner's token: made when a stack comes up first, kept in the profile file of whoever started it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from service.client.profiles import Profile, Profiles
from service.store import Role, Store

PROFILE = "local"
OWNER = "local"
TOKEN_NAME = "tuneladder up"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a person reaches the stack.

    Args:
        file: Where the profile stands.
        is_default: Commands ask this stack where no other server is named.
        new_secret: The token, where it has just been made: it is shown once.
        warning: What a person should know about the file.
    """

    file: Path
    is_default: bool
    new_secret: str | None
    warning: str | None


def grant_access(store_url: str, api_url: str) -> Access:
    """Make the profile `local` lead to this stack, with a token of an administrator that its store knows.

    A token of the profile that the store knows is kept. Else a new one is made, and the one before it is revoked:
    a secret that stands nowhere any more is of use to nobody.

    Raises:
        InvalidSpecError: The profile file cannot be read.
        StoreUnavailableError: The store does not answer.
    """
    profiles = Profiles.read()
    known = profiles.by_name.get(PROFILE)
    with Store.open(store_url) as store:
        secret = known.token if known else None
        found = store.authenticate(secret) if secret else None
        is_new = found is None or found.role != Role.ADMIN
        if is_new:
            for token in store.tokens(owner=OWNER):
                if token.name == TOKEN_NAME and token.revoked_at is None:
                    store.revoke_token(token.id)
            _, secret = store.create_token(TOKEN_NAME, OWNER, Role.ADMIN)
    granted = profiles.with_profile(PROFILE, Profile(url=api_url, token=secret))
    if granted != profiles:
        granted.write()
    profiles = granted
    return Access(
        file=profiles.path,
        is_default=profiles.default == PROFILE,
        new_secret=secret if is_new else None,
        warning=profiles.warning(),
    )


def withdraw_default() -> None:
    """Let commands look into the home folder again when the stack is down; the profile itself stays.

    Raises:
        InvalidSpecError: The profile file cannot be read.
    """
    profiles = Profiles.read()
    if profiles.default == PROFILE:
        replace(profiles, default=None).write()
