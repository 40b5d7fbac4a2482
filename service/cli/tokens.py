"""`tuneladder token`: who may use a server. An operator writes to its record, an admin asks the server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer
from rich.table import Table

from service.cli.options import JsonOption, QuietOption, make_console, write_json
from service.cli.places import HomeChoice, ProfileOption, UrlOption, ask_server, find_place
from service.errors import InvalidSpecError
from service.home import Home

if TYPE_CHECKING:
    from service.client import Client
    from service.store import Actor, Store

DATABASE_VARIABLE = "TUNELADDER_DATABASE_URL"
RULE = (
    "Writes to the record of --home or --database if one is given, else asks the server of --url or --profile. "
    "Without these it is what TUNELADDER_URL, TUNELADDER_PROFILE, TUNELADDER_DATABASE_URL or TUNELADDER_HOME "
    "names, in this order; else the default profile's server; else the home folder .tuneladder."
)
_PERIOD = re.compile(r"(\d{1,5})([dh])")
Role = Literal["viewer", "submitter", "admin"]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database", help="The record's database, such as postgresql://user@host/name.", show_default=False
    ),
]

app = typer.Typer(
    help="Make, list and revoke the tokens of a server.", no_args_is_help=True, rich_markup_mode=None
)


class TokenLike(Protocol):
    """A token without its secret, from the store or from a server."""

    @property
    def id(self) -> str:
        """Opaque."""
        ...

    @property
    def name(self) -> str:
        """What it is for."""
        ...

    @property
    def owner(self) -> str:
        """Whose jobs it may see."""
        ...

    @property
    def role(self) -> str:
        """What it may do."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself."""
        ...

    @property
    def revoked_at(self) -> datetime | None:
        """When it was ended."""
        ...

    @property
    def last_used_at(self) -> datetime | None:
        """When it was last used, to the minute."""
        ...


class Keeper(Protocol):
    """Makes, lists and revokes tokens."""

    def create(self, name: str, owner: str, role: Role, expires_at: datetime | None) -> tuple[TokenLike, str]:
        """Make a token; gives its secret too."""
        ...

    def tokens(self, owner: str | None) -> Iterable[TokenLike]:
        """List tokens."""
        ...

    def revoke(self, token_id: str) -> None:
        """End a token for good."""
        ...


@app.command("create", epilog=RULE)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the token is for.")],
    owner: Annotated[
        str | None, typer.Option(help="Whose jobs it may see; default: NAME.", show_default=False)
    ] = None,
    role: Annotated[
        Role,
        typer.Option(
            help="viewer: look; submitter: also hand in and move own jobs; admin: everything, of everyone."
        ),
    ] = "submitter",
    expires: Annotated[
        str | None,
        typer.Option(
            help="When it ends: 90d, 12h, or a date such as 2027-01-31; default: never.", show_default=False
        ),
    ] = None,
    home: HomeChoice = None,
    database: DatabaseOption = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a token. Its secret is shown now and never again; the record holds its hash alone."""
    expires_at = parse_expiry(expires, now=datetime.now(UTC)) if expires else None
    with _keeper(home, database, url, profile) as keeper:
        token, secret = keeper.create(name, owner or name, role, expires_at)
    if as_json:
        write_json(_record(token) | {"token": secret})
    elif quiet:
        typer.echo(secret)
    else:
        ends = f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "until it is revoked"
        typer.echo(
            f"token {token.id} for {token.owner} as {token.role}, {ends}; keep it, it is not shown again:",
            err=True,
        )
        typer.echo(secret)


@app.command("list", epilog=RULE)
def list_(
    owner: Annotated[str | None, typer.Option(help="Only tokens of this owner.", show_default=False)] = None,
    home: HomeChoice = None,
    database: DatabaseOption = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tokens, without their secrets."""
    with _keeper(home, database, url, profile) as keeper:
        found = list(keeper.tokens(owner))
    if as_json:
        write_json([_record(token) for token in found])
        return
    table = Table(
        "token", "name", "owner", "role", "created", "expires", "last used", "", box=None, pad_edge=False
    )
    for token in found:
        moments = [token.created_at, token.expires_at, token.last_used_at]
        cells = [at.astimezone().strftime("%Y-%m-%d %H:%M") if at else "never" for at in moments]
        table.add_row(token.id, token.name, token.owner, token.role, *cells, _standing(token))
    make_console().print(table)


@app.command("revoke", epilog=RULE)
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, as token list shows it.")],
    home: HomeChoice = None,
    database: DatabaseOption = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a token for good. Jobs that were handed in with it go on."""
    with _keeper(home, database, url, profile) as keeper:
        keeper.revoke(token)
    if as_json:
        write_json({"id": token, "is_revoked": True})
    elif not quiet:
        typer.echo(f"token {token} is revoked")


def parse_expiry(text: str, *, now: datetime) -> datetime:
    """Read when a token ends: days, hours, or a date (its first moment, UTC) or moment.

    Raises:
        InvalidSpecError: It is none of these, or has passed.
    """
    period = _PERIOD.fullmatch(text.strip())
    try:
        if period:
            moment = now + timedelta(**{{"d": "days", "h": "hours"}[period[2]]: int(period[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidSpecError(
            f"--expires is days, hours or a date, got {text!r}: write 90d, 12h or 2027-01-31"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= now:
        raise InvalidSpecError(f"a token ends in the future, got --expires {text}: choose a later moment")
    return moment


def _record(token: TokenLike) -> dict[str, Any]:
    names = ("id", "name", "owner", "role", "created_at", "expires_at", "revoked_at", "last_used_at")
    values = {name: getattr(token, name) for name in names}
    return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in values.items()}


def _standing(token: TokenLike) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else ""


@contextmanager
def _keeper(home: Path | None, database: str | None, url: str | None, profile: str | None) -> Iterator[Keeper]:
    """Open a record or a connection to a server; see `RULE`."""
    given = [
        f"{name} {value}"
        for name, value in (
            ("--home", home),
            ("--database", "..." if database else None),
            ("--url", url),
            ("--profile", profile),
        )
        if value
    ]
    if len(given) > 1:
        raise InvalidSpecError(f"one place is looked at at a time, got {', '.join(given)}: leave all but one out")
    place = find_place(home, url, profile)
    if not given and not (os.environ.get("TUNELADDER_URL") or os.environ.get("TUNELADDER_PROFILE")):
        database = os.environ.get(DATABASE_VARIABLE)
    if place.server is not None and not database:
        with ask_server(place) as client:
            yield _ServerKeeper(client)
    else:
        from service.store import Store

        with Store.open(database or Home(place.home).store_url()) as store:
            yield _StoreKeeper(store)


@dataclass(frozen=True)
class _StoreKeeper:
    store: Store

    def create(self, name: str, owner: str, role: Role, expires_at: datetime | None) -> tuple[TokenLike, str]:
        from service.store.states import Role as StoreRole

        return self.store.create_token(name, owner, StoreRole(role), expires_at, by=self._by())

    def tokens(self, owner: str | None) -> Iterable[TokenLike]:
        return self.store.tokens(owner)

    def revoke(self, token_id: str) -> None:
        self.store.revoke_token(token_id, by=self._by())

    def _by(self) -> Actor:
        """Sign for the operator, who has the record and needs no token."""
        from service.store import Actor

        return Actor(owner="operator")


@dataclass(frozen=True)
class _ServerKeeper:
    client: Client

    def create(self, name: str, owner: str, role: Role, expires_at: datetime | None) -> tuple[TokenLike, str]:
        token = self.client.create_token(name, owner=owner, role=role, expires_at=expires_at)
        return token, token.token

    def tokens(self, owner: str | None) -> Iterable[TokenLike]:
        return self.client.tokens(owner=owner)

    def revoke(self, token_id: str) -> None:
        self.client.revoke_token(token_id)
