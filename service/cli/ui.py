"""`tuneladder ui`: the MLflow UI on a home folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Annotated

import typer

from service.cli.options import DEFAULT_HOME, HomeOption
from service.errors import NotFoundError, TuneladderError
from service.home import Home


def ui(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Open the MLflow UI on what this home folder has tracked; Ctrl-C ends it."""
    from service.tracking import UI_ENVIRONMENT, ui_command

    places = Home(home)
    if not places.store_file.exists():
        raise NotFoundError(f"no job has run in {places.folder}: give --home, or start one with tuneladder run")
    typer.echo(f"MLflow UI: http://{host}:{port} (runs are under Training runs; Ctrl-C ends it)", err=True)
    # A session of its own: the server starts workers, and all of them end together.
    process = subprocess.Popen(
        ui_command(places.folder, host=host, port=port),
        env={**os.environ, **UI_ENVIRONMENT},
        start_new_session=True,
    )
    try:
        code = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    if code:
        raise TuneladderError(
            f"the MLflow server ended with code {code}: see its messages above, or choose another --port"
        )
