"""`tuneladder ui`: the MLflow UI on a home folder."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from service.cli.options import DEFAULT_HOME, HomeOption
from service.errors import NotFoundError
from service.home import Home


def ui(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Open the MLflow UI on what this home folder has tracked; Ctrl-C ends it."""
    from service.tracking import ui_command

    places = Home(home)
    if not places.store_file.exists():
        raise NotFoundError(f"no job has run in {places.folder}: give --home, or start one with tuneladder run")
    typer.echo(f"MLflow UI: http://{host}:{port} (runs are under Training runs; Ctrl-C ends it)", err=True)
    process = subprocess.Popen(ui_command(places.folder, host=host, port=port))
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    raise typer.Exit(code)
