"""`tuneladder run`: one job from spec to bundle, with a live table on a terminal and plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli.display import Display, make_display
from service.cli.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    QuietOption,
    SpecArgument,
    make_console,
    write_json,
)
from service.cli.places import home_options
from service.cli.reading import open_store
from service.cli.results import heading, job_summary, print_next, print_result
from service.cli.views import IncumbentView, JobView, OutcomeView, Standing
from service.errors import JobFailedError
from service.importing import collector_paused

if TYPE_CHECKING:
    from service.job_run import Started
    from service.runner import Progress


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
    quiet: QuietOption = False,
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
                display.start(_job_view(started))

            job = run_job(
                document,
                home=home,
                options=RunOptions(engine=engine, num_slots=slots, address=address, num_gpus=num_gpus, new=new),
                on_start=begin,
                observer=lambda progress: display.update(_standing(progress)),
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
        console = make_console()
        if display.job is None:
            console.print("this job had finished before; --new runs it again", highlight=False)
        console.print(heading(job), highlight=False, soft_wrap=True)
        print_result(console, job, bundle=str((job.result or {}).get("bundle")))
        options = home_options(home)
        print_next(console, f"tuneladder trials{options}", f"tuneladder ui{options}")


def _job_view(started: Started) -> JobView:
    resumed = " (going on from its record)" if started.resumed else ""
    slots = f" on {started.num_slots} slot{'s' if started.num_slots > 1 else ''}"
    return JobView.of_plan(
        started.plan.to_dict(),
        job_id=started.job.id,
        name=started.job.name,
        where=slots + resumed,
        warnings=started.warnings,
    )


def _standing(progress: Progress) -> Standing:
    best, value = progress.incumbent, progress.incumbent_value
    return Standing(
        stage=progress.stage,
        epochs=progress.epochs,
        states=progress.states,
        incumbent=None
        if best is None or value is None
        else IncumbentView(number=best.number, value=value, params=best.params),
        outcomes=tuple(
            OutcomeView(stage=o.stage, num_trials=o.num_trials, epochs=o.epochs, adopted=o.adopted, why=o.why)
            for o in progress.outcomes
        ),
    )


def _write_failure(display: Display, home: Path) -> None:
    assert display.job is not None
    with open_store(home) as store:
        write_json(job_summary(store.job(display.job.job_id)))


def _say_how_to_go_on(display: Display) -> None:
    kept = "everything recorded is kept" if display.job is not None else "nothing was trained"
    typer.echo(f"interrupted: {kept}; run the same command again to go on", err=True)
