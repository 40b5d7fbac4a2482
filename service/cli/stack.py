"""`tuneladder up`, `down`, `status`, `doctor`: the whole service on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from service.cli.options import DEFAULT_HOME, HomeOption, JsonOption, make_console, write_json
from service.home import Home

if TYPE_CHECKING:
    from service.stack.stack import Up
    from service.stack.status import Status


def up(
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Of the API; default: as last time, else 8400 or a free one.",
            show_default=False,
        ),
    ] = None,
    max_running_jobs: Annotated[
        int | None,
        typer.Option(
            min=1, envvar="TUNELADDER_MAX_RUNNING_JOBS", help="Jobs at a time; default: one.", show_default=False
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it serves, and leave it.")] = False,
) -> None:
    """Start the service on this machine: API, worker and MLflow, for this machine alone.

    Makes an administrator's token the first time and keeps it in the profile file, so that `tuneladder submit`
    works at once. A part that dies starts again. Ctrl-C or `tuneladder down` end it: jobs go back into the queue
    at the end of their legs.
    """
    from pathlib import Path

    from service.settings import load_settings
    from service.stack.stack import up as start

    settings = load_settings(home=home, max_running_jobs=max_running_jobs)
    if not settings.data_roots:  # on one's own machine, the data lies where one works
        settings = settings.model_copy(update={"data_roots": (Path.cwd(),)})
    start(settings, port=port, detach=detach, say=_say, on_ready=_print_up)


def down(home: HomeOption = DEFAULT_HOME) -> None:
    """End what `tuneladder up` has started here; jobs go back into the queue at the end of their legs."""
    from service.settings import load_settings
    from service.stack.stack import down as end

    settings = load_settings(home=home)
    if not end(settings.places.folder, grace_s=settings.grace_s, say=_say):
        _say(f"nothing of {settings.places.folder} is up")


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what runs: parts of the stack, workers, jobs by state. Exit code 1 if something is wrong."""
    from service.settings import load_settings
    from service.stack.status import find_status

    found = find_status(load_settings(home=home))
    if as_json:
        write_json(found.to_dict())
    else:
        _print_status(found, Home(home))
    if found.problems:
        raise typer.Exit(1)


def doctor(
    home: HomeOption = DEFAULT_HOME,
    deep: Annotated[bool, typer.Option("--deep", help="Start a Ray as well: ten seconds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine and what the settings name, and say how to mend it. Exit code 1 if something is wrong."""
    from service.settings import load_settings
    from service.stack.doctor import examine

    findings = examine(load_settings(home=home), deep=deep)
    if as_json:
        write_json(
            [{"check": f.check, "outcome": f.outcome, "found": f.found, "remedy": f.remedy} for f in findings]
        )
    else:
        console = make_console()
        for finding in findings:
            remedy = f": {finding.remedy}" if finding.remedy else ""
            style = {"ok": None, "warning": "yellow", "wrong": "bold red"}[finding.outcome]
            console.print(
                f"{finding.outcome:<8}{finding.check:<16}{finding.found}{remedy}",
                style=style,
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    if any(finding.outcome == "wrong" for finding in findings):
        raise typer.Exit(1)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_up(told: Up) -> None:
    access = told.access
    typer.echo(f"API:     {told.urls['api']}")
    if "mlflow" in told.urls:
        typer.echo(f"MLflow:  {told.urls['mlflow']}")
    typer.echo(f"home:    {told.home}")
    typer.echo(
        f"data:    {', '.join(map(str, told.data_roots))} (TUNELADDER_DATA_ROOTS; files of specs lie below it)"
    )
    if access.new_secret is not None:
        typer.echo(f"token:   {access.new_secret} (an administrator's; shown this once)")
    typer.echo(f"profile: local, in {access.file}")
    if access.warning:
        _say(f"warning: {access.warning}")
    where = "" if access.is_default else " --profile local"
    typer.echo(f"next:    tuneladder submit SPEC{where}   or   tuneladder status")


def _print_status(found: Status, home: Home) -> None:
    console = make_console()
    if found.stack.is_up() or found.stack.parts:
        table = Table("part", "state", "process", "restarts", "address", box=None, pad_edge=False)
        for part in found.stack.parts:
            table.add_row(
                part.name,
                found.part_state(part),
                str(part.process.pid) if part.process else "",
                str(part.num_restarts),
                part.url or "",
            )
        console.print(table)
    else:
        console.print(f"no stack of {home.folder} is up", highlight=False, soft_wrap=True)
    for worker in found.workers:
        running = worker.detail.get("running") or []
        console.print(
            f"worker {worker.name}: {', '.join(running) or 'no job'}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    counted = ", ".join(f"{count} {state}" for state, count in found.num_jobs.items() if count)
    console.print(f"jobs: {counted or 'none'}", highlight=False)
    for problem in found.problems:
        console.print(f"problem: {problem}", style="bold red", highlight=False, markup=False, soft_wrap=True)
