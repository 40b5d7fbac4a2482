"""The commands, and the one place where errors become messages and exit codes.

Exit codes: 0 done, 1 the job failed, 2 something in the request is wrong, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from service.cli import jobs, moves, places, plans, profiles, run, stack, submit, tokens, ui, watch, worker
from service.errors import TuneladderError

app = typer.Typer(
    name="tuneladder",
    help="Tune Lightning modules up a ladder of hyperparameters, in a documented order of priority.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("plan")(plans.plan)
app.command("spaces")(plans.spaces)
_HERE_OR_THERE: tuple[Callable[..., None], ...] = (jobs.jobs, jobs.show, jobs.trials, jobs.best, jobs.export)
_THERE: tuple[Callable[..., None], ...] = (
    submit.submit,
    watch.watch,
    moves.pause,
    moves.resume,
    moves.cancel,
)
for _command in _HERE_OR_THERE:
    app.command(_command.__name__, epilog=places.RULE)(_command)
for _command in _THERE:
    app.command(_command.__name__, epilog=places.SERVER_RULE)(_command)
_PRIORITY = {"ignore_unknown_options": True}  # a negative one is no option
app.command("priority", epilog=places.SERVER_RULE, context_settings=_PRIORITY)(moves.priority)
app.add_typer(tokens.app, name="token")
app.add_typer(profiles.app, name="profile")
app.command("ui")(ui.ui)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.command("doctor")(stack.doctor)
app.command("worker")(worker.worker)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"tuneladder {version('tuneladder')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Hold the options that belong to no command."""


def _terminate(*_: Any) -> None:
    """Treat SIGTERM like Ctrl-C, which typer turns into exit code 130: close the engine, keep the record."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app(standalone_mode=True)
    except TuneladderError as error:
        errors.print(f"error: {error}", markup=False, style="bold red" if errors.is_terminal else None)
        sys.exit(error.exit_code)
