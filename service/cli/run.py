"""`tuneladder run`: one job from spec to bundle, with a live table on a terminal and plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli.display import Display, make_display
from service.cli.jobs import open_store
from service.cli.options import DEFAULT_HOME, HomeOption, JsonOption, SpecArgument, make_console, write_json
from service.cli.results import job_summary, print_result
from service.errors import JobFailedError
from service.importing import collector_paused

if TYPE_CHECKING:
    from service.job_run import Started


def run(
    spec: SpecArgument,
    home: HomeOption = DEFAULT_HOME,
    engine: Annotated[
        Literal["ray", "local"], typer.Option(help="Where legs are trained: slots on Ray, or this process.")
    ] = "ray",
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="Legs at a time; default: what the machine or cluster has room for."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster, such as 10.0.0.5:6379.", show_default=False)
    ] = None,
    num_gpus: Annotated[
        int | None,
        typer.Option(
            min=0, help="GPUs that a local Ray offers; default: those that it finds.", show_default=False
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Run again what has finished in this home.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but the result.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a tuning job; go on with it where it was interrupted; show its result once it has finished.

    The winner's bundle is written below HOME/bundles. Ctrl-C stops at once and loses at most one leg of each slot.
    """
    from service.documents import load_spec

    document = load_spec(spec)
    display = make_display(quiet=quiet)
    try:
        with display, collector_paused() as resume:
            from service.embedded import run_job
            from service.seats import RunOptions

            def begin(started: Started) -> None:
                resume()  # everything is imported
                display.start(started)

            job = run_job(
                document,
                home=home,
                options=RunOptions(engine=engine, num_slots=slots, address=address, num_gpus=num_gpus, new=new),
                on_start=begin,
                observer=display.update,
                say=display.phase,
            )
    except JobFailedError:
        if as_json:
            _write_failure(display, home)
        raise
    except KeyboardInterrupt:
        _say_how_to_go_on(display)
        raise
    if as_json:
        write_json(job_summary(job))
    else:
        print_result(make_console(), job, home=home, fresh=display.started is not None)


def _write_failure(display: Display, home: Path) -> None:
    assert display.started is not None
    with open_store(home) as store:
        write_json(job_summary(store.job(display.started.job.id)))


def _say_how_to_go_on(display: Display) -> None:
    kept = "everything recorded is kept" if display.started is not None else "nothing was trained"
    typer.echo(f"interrupted: {kept}; run the same command again to go on", err=True)
