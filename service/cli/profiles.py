"""`tuneladder profile`: servers by name, in a file of one's own."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from service.cli.options import JsonOption, make_console, write_json

app = typer.Typer(
    help="Name servers and keep their tokens, in one file that only you can read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.")]


@app.command("set")
def set_(
    name: NameArgument,
    url: Annotated[
        str | None, typer.Option(help="The server's address; of a profile that is there it may be left out.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="The token; - reads it from standard input. Default: asked for, and not shown.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Add a profile, or change it. The first one becomes the default; profile use chooses another."""
    from service.client import Profile, Profiles
    from service.client.transport import check_token, check_url

    known = Profiles.read()
    address = check_url(url or known.get(name).url)
    before = known.by_name.get(name)
    kept = before.token if before is not None and before.url == address else None  # a token is for one server
    if token is None and sys.stdin.isatty():
        empty = "none" if kept is None else "as it is"
        token = typer.prompt(
            f"token for {address} (empty: {empty})", hide_input=True, default="", show_default=False
        )
    elif token == "-":
        token = sys.stdin.readline()
    secret = check_token(token) if token and token.strip() else kept
    changed = known.with_profile(name, Profile(url=address, token=secret))
    changed.write()
    is_default = " (the default)" if changed.default == name else ""
    typer.echo(
        f"profile {name}{is_default}: {address}, {'with' if secret else 'without'} a token, in {changed.path}"
    )
    if secret and address.startswith("http://") and not _is_local(address):
        typer.echo("warning: http sends the token unencrypted; use https outside of a network you trust", err=True)


def _is_local(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List profiles, without their tokens."""
    from service.client import Profiles

    profiles = Profiles.read()
    if warning := profiles.warning():
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        write_json(
            [
                {
                    "name": name,
                    "url": p.url,
                    "has_token": p.token is not None,
                    "is_default": name == profiles.default,
                }
                for name, p in profiles.by_name.items()
            ]
        )
        return
    table = Table("", "profile", "url", "token", box=None, pad_edge=False)
    for name, profile in profiles.by_name.items():
        table.add_row("*" if name == profiles.default else "", name, profile.url, "yes" if profile.token else "no")
    make_console().print(table)


@app.command("use")
def use(name: NameArgument) -> None:
    """Choose the profile that commands use where nothing else is named."""
    from service.client import Profiles

    Profiles.read().with_default(name).write()
    typer.echo(f"default profile: {name}")
