"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The job: a YAML or JSON file.")]
JobArgument = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id of a job, or its beginning; default: the latest.", show_default=False),
]
ServerJobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, or its beginning.")]
HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="TUNELADDER_HOME",
        help="Folder that holds everything: record, checkpoints, MLflow, bundles.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON on standard output, for programs.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but the result.")]
DEFAULT_HOME = Path(".tuneladder")
PIPE_WIDTH = 240  # columns


def make_console() -> Console:
    """Make the console for results: as wide as the terminal, and wide enough for any row in a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def write_json(value: Any) -> None:
    """Write one JSON document on one line of standard output."""
    typer.echo(json.dumps(value, allow_nan=False, default=str))
