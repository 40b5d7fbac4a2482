"""Where a command looks: a home folder, or a server. One rule for all commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import DEFAULT_HOME
from service.errors import InvalidSpecError, NotFoundError

if TYPE_CHECKING:  # they import httpx
    from service.client import Client, Profile

HOME_VARIABLE = "TUNELADDER_HOME"
RULE = (
    "Looks in --home if it is given, else asks the server of --url or --profile; without these, what "
    "TUNELADDER_URL, TUNELADDER_PROFILE or TUNELADDER_HOME names, in this order; else the default profile's "
    "server; else the home folder .tuneladder."
)
SERVER_RULE = (
    "Asks the server of --url or --profile; without these, of TUNELADDER_URL, of TUNELADDER_PROFILE or of the "
    "default profile, in this order."
)

HomeChoice = Annotated[
    Path | None,
    typer.Option("--home", help="A home folder: a record on this machine.", show_default=False),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="A server's address, such as http://localhost:8400; its token is in TUNELADDER_TOKEN.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="A server's name in the profile file, with its token.", show_default=False),
]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A home folder or a server, and how to name it on a command line."""

    home: Path = DEFAULT_HOME
    server: Profile | None = None
    options: str = ""  # such as ` --home runs`; empty where the same place is found without


def find_place(home: Path | None, url: str | None, profile: str | None) -> Place:
    """Choose where to look; see `RULE`.

    Raises:
        InvalidSpecError: More than one place is given.
        NotFoundError: No profile has the name.
    """
    if home is not None:
        if url or profile:
            other = f"--url {url}" if url else f"--profile {profile}"
            raise InvalidSpecError(
                f"one place is looked at at a time, got --home {home} and {other}: leave one out"
            )
        return Place(home=home, options=home_options(home))
    from service.client.connection import PROFILE_VARIABLE, URL_VARIABLE

    named_home = os.environ.get(HOME_VARIABLE)
    is_server_named = url or profile or os.environ.get(URL_VARIABLE) or os.environ.get(PROFILE_VARIABLE)
    if named_home and not is_server_named:
        return Place(home=Path(named_home))
    server = _find_server(url, profile)
    if server is None:
        return Place()
    return Place(server=server, options=_server_options(url, profile))


def _find_server(url: str | None, profile: str | None) -> Profile | None:
    from service.client.connection import find_server
    from service.client.profiles import Profiles

    profiles = Profiles.read()
    found = find_server(url=url, profile=profile, environment=os.environ, profiles=profiles)
    if found in profiles.by_name.values() and (warning := profiles.warning()):
        typer.echo(f"warning: {warning}", err=True)
    return found


def _server_options(url: str | None, profile: str | None) -> str:
    return f" --url {shlex.quote(url)}" if url else f" --profile {shlex.quote(profile)}" if profile else ""


def home_options(home: Path) -> str:
    """Write the options that name a home folder; none for the default one."""
    return "" if home == DEFAULT_HOME else f" --home {shlex.quote(str(home))}"


def find_server_place(url: str | None, profile: str | None) -> Place:
    """Choose a server; see `SERVER_RULE`.

    Raises:
        NotFoundError: Nothing names one.
    """
    server = _find_server(url, profile)
    if server is None:
        raise NotFoundError(
            "this command asks a server, and nothing names one: give --url or --profile, or make a profile with "
            "`tuneladder profile set NAME --url URL`"
        )
    return Place(server=server, options=_server_options(url, profile))


@contextmanager
def ask_server(place: Place) -> Iterator[Client]:
    """Make a client of a place's server, for a block."""
    from service.client import Client

    assert place.server is not None
    with Client(place.server.url, place.server.token) as client:
        yield client
