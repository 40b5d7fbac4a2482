"""Which server: what is given, else what the environment says, else the default profile."""

from __future__ import annotations

import os
from collections.abc import Mapping

from service.client.client import Client
from service.client.profiles import Profile, Profiles
from service.errors import InvalidSpecError, NotFoundError

URL_VARIABLE = "TUNELADDER_URL"
TOKEN_VARIABLE = "TUNELADDER_TOKEN"
PROFILE_VARIABLE = "TUNELADDER_PROFILE"


def find_server(
    *, url: str | None = None, profile: str | None = None, environment: Mapping[str, str], profiles: Profiles
) -> Profile | None:
    """Choose `url`, else `profile`, else TUNELADDER_URL, else TUNELADDER_PROFILE, else the default profile.

    TUNELADDER_TOKEN is the token for an address, and for a profile that has none.

    Args:
        url: A server's address.
        profile: A profile's name.
        environment: Variables.
        profiles: What the profile file holds.

    Returns:
        None where nothing names a server.

    Raises:
        InvalidSpecError: Both are given.
        NotFoundError: No profile has the name.
    """
    if url and profile:
        raise InvalidSpecError(
            f"one server is asked at a time, got --url {url} and --profile {profile}: leave one out"
        )
    token = environment.get(TOKEN_VARIABLE) or None
    if not url and not profile:
        url, profile = environment.get(URL_VARIABLE), environment.get(PROFILE_VARIABLE) or profiles.default
    if url:
        return Profile(url=url, token=token)
    if not profile:
        return None
    found = profiles.get(profile)
    return found if found.token else Profile(url=found.url, token=token)


def connect(url: str | None = None, token: str | None = None, *, profile: str | None = None) -> Client:
    """Make a client of the server that arguments, environment or profile file name.

    Args:
        url: The server's address.
        token: For it; default TUNELADDER_TOKEN.
        profile: A profile's name, in the place of the two.

    Raises:
        NotFoundError: Nothing names a server, or no profile has the name.
    """
    profiles = Profiles.read()
    found = find_server(url=url, profile=profile, environment=os.environ, profiles=profiles)
    if found is None:
        raise NotFoundError(
            f"a client needs a server, and nothing names one: give url, set {URL_VARIABLE}, or make a profile "
            "with `tuneladder profile set`"
        )
    return Client(found.url, token or found.token)
