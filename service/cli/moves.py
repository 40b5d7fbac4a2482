"""`tuneladder pause`, `resume`, `cancel`, `priority`: what is asked of a server's jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import JsonOption, QuietOption, ServerJobArgument, make_console, write_json
from service.cli.places import ProfileOption, UrlOption, ask_server, find_server_place
from service.cli.results import job_summary, state_text

if TYPE_CHECKING:
    from service.client import Client, Job


def pause(
    job: ServerJobArgument,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pause a job; one that runs pauses at the end of the leg under way."""
    _move(lambda client: client.pause(job), url, profile, quiet=quiet, as_json=as_json)


def resume(
    job: ServerJobArgument,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a paused or failed job back into the queue; it goes on from its record."""
    _move(lambda client: client.resume(job), url, profile, quiet=quiet, as_json=as_json)


def cancel(
    job: ServerJobArgument,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a job for good; one that runs ends at the end of the leg under way."""
    _move(lambda client: client.cancel(job), url, profile, quiet=quiet, as_json=as_json)


def priority(
    job: ServerJobArgument,
    number: Annotated[int, typer.Argument(metavar="PRIORITY", help="Higher ones run first; jobs start with 0.")],
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a job another priority. A running job makes way for a waiting one with a higher priority."""
    _move(lambda client: client.set_priority(job, number), url, profile, quiet=quiet, as_json=as_json)


def _move(
    move: Callable[[Client], Job], url: str | None, profile: str | None, *, quiet: bool, as_json: bool
) -> None:
    with ask_server(find_server_place(url, profile)) as client:
        job = move(client)
    if as_json:
        write_json(job_summary(job) | {"priority": job.priority, "wish": job.wish})
    elif not quiet:
        text = f"job {job.id} {job.name}: {state_text(job)}, priority {job.priority}"
        make_console().print(text, highlight=False, soft_wrap=True)
