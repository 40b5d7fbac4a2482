"""`tuneladder worker`: one worker in this process."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from service.cli.options import DEFAULT_HOME, HomeOption


def worker(
    home: HomeOption = DEFAULT_HOME,
    engine: Annotated[
        Literal["ray", "local"] | None,
        typer.Option(
            envvar="TUNELADDER_ENGINE",
            help="What trains: slots on Ray (default), or the process of the job.",
            show_default=False,
        ),
    ] = None,
    max_running_jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            envvar="TUNELADDER_MAX_RUNNING_JOBS",
            help="Jobs at a time; default: one.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            envvar="TUNELADDER_WORKER_NAME", help="Its name; default: host and process.", show_default=False
        ),
    ] = None,
) -> None:
    """Claim queued jobs and run each in a process of its own, until SIGTERM or Ctrl-C.

    Jobs then go back into the queue at the end of their legs; the second signal ends them at once. Where the store
    is and everything else follows from the settings of the environment (TUNELADDER_...).
    """
    from service.logs import set_up_logs
    from service.settings import load_settings
    from service.worker import Worker, WorkerOptions

    settings = load_settings(home=home, engine=engine, max_running_jobs=max_running_jobs, worker_name=name)
    set_up_logs()
    Worker(WorkerOptions.of(settings)).run()
