"""`tuneladder submit`: a job handed to a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import JsonOption, QuietOption, SpecArgument, make_console, write_json
from service.cli.places import ProfileOption, UrlOption, ask_server, find_server_place
from service.cli.results import job_summary
from service.cli.watch import follow

if TYPE_CHECKING:
    from service.client import ApiSpecError


def submit(
    spec: SpecArgument,
    url: UrlOption = None,
    profile: ProfileOption = None,
    priority: Annotated[
        int | None, typer.Option(help="Higher ones run first; default 0.", show_default=False)
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            help="A word of your own: the same spec with the same word is taken once, however often it is sent.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the job at once, as tuneladder watch does.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hand a job to a server, which runs it in its turn.

    Paths in the spec are the server's: data files lie below a folder that its operator has named.
    """
    from service.client import ServerUnreachableError

    place = find_server_place(url, profile)
    with ask_server(place) as client:
        try:
            with _local_files_explained(spec):
                job = client.submit(spec, priority=priority, idempotency_key=idempotency_key)
        except ServerUnreachableError as error:
            if error.idempotency_key:
                typer.echo(
                    "the job may have been taken: the same command with --idempotency-key "
                    f"{error.idempotency_key} does not hand it in twice",
                    err=True,
                )
            raise
        if watch:
            if not quiet:
                typer.echo(f"job {job.id} {job.name}", err=True)
            follow(client, job, place=place, quiet=quiet, as_json=as_json)
        elif as_json:
            write_json(job_summary(job) | {"is_repeat": job.is_repeat})
        elif quiet:
            typer.echo(job.id)
        else:
            console = make_console()
            taken = "was handed in before with this key" if job.is_repeat else f"is {job.state}"
            console.print(f"job {job.id} {job.name} {taken}", highlight=False, soft_wrap=True)
            console.print(f"next: tuneladder watch {job.id}{place.options}", highlight=False, soft_wrap=True)


@contextmanager
def _local_files_explained(spec: Path) -> Iterator[None]:
    """Say beside the server's error that a path of this machine means nothing there."""
    from service.client import ApiSpecError

    try:
        yield
    except ApiSpecError as error:
        path = _path_at(spec, error)
        if path is not None:
            here = (
                "it is on this machine: copy it there, and " if (spec.parent / path).expanduser().exists() else ""
            )
            typer.echo(
                f"note: files in a submitted spec are the server's, {error.field} is {path}: {here}name it as the "
                "server knows it",
                err=True,
            )
        raise


def _path_at(spec: Path, error: ApiSpecError) -> str | None:
    """Find the path that an error is about; None where it is about something else."""
    import yaml

    if error.field is None or error.field.partition(".")[0] not in ("data", "model"):
        return None
    try:
        value: Any = yaml.safe_load(spec.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    for part in error.field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    is_file = error.field == "model.start_from" or error.field.split(".")[-1] in PATH_FIELDS
    return value if is_file and isinstance(value, str) else None


PATH_FIELDS = frozenset({"csv", "parquet", "idx", "images", "text", "npz", "series", "test"})
