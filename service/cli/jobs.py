"""`tuneladder jobs`, `trials`, `best`, `export`: what a home folder holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from service.cli.options import DEFAULT_HOME, HomeOption, JobArgument, JsonOption, make_console, write_json
from service.cli.results import job_summary, params_text, print_result, trial_record, value_text
from service.errors import ConflictError, NotFoundError
from service.export.metrics import best_metrics, trial_complaints
from service.home import Home
from service.store import JobRecord, Store


@contextmanager
def open_store(home: Path) -> Iterator[Store]:
    """Open the record of a home folder that has one.

    Raises:
        NotFoundError: There is none.
    """
    places = Home(home)
    if not places.store_file.exists():
        raise NotFoundError(f"no job has run in {places.folder}: give --home, or start one with tuneladder run")
    with Store.open(places.store_url()) as store:
        yield store


def _find(store: Store, job: str | None) -> JobRecord:
    if job is not None:
        return store.job(job)
    latest = store.jobs(limit=1)
    if not latest:
        raise NotFoundError("no job is on record here: start one with tuneladder run")
    return latest[0]


def jobs(
    home: HomeOption = DEFAULT_HOME,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the jobs of a home folder, newest first."""
    with open_store(home) as store:
        found = store.jobs(limit=limit)
    if as_json:
        write_json([job_summary(job) | {"created_at": job.created_at.isoformat()} for job in found])
        return
    whole = Column("job", no_wrap=True, overflow="ignore", min_width=13)  # to be copied
    table = Table(
        whole, "name", "state", "created", "trials", "epochs", "best", "message", box=None, pad_edge=False
    )
    for job in found:
        result = job.result or {}
        value = ((result.get("best") or {}).get("metrics") or {}).get(job.metric or "")
        table.add_row(
            job.id,
            job.name,
            str(job.state),
            job.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            str(result.get("num_trials", "")),
            str(result.get("num_epochs", "")),
            f"{job.metric} {value_text(value)}" if value is not None else "",
            job.message or "",
        )
    make_console().print(table)


def trials(job: JobArgument = None, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List a job's trials: number, stage, round, params, state, epochs, metrics of the best epoch."""
    with open_store(home) as store:
        found = _find(store, job)
        records = [
            trial_record(t, best_metrics(store, found.id, t), trial_complaints(store, found.id, t.number))
            for t in store.trials(found.id)
        ]
        names = {stage.number: stage.name for stage in store.stages(found.id)}
    if as_json:
        write_json(records)
        return
    make_console().print(_trials_table(records, metric=found.metric or "", stages=names))


def _trials_table(records: Sequence[Mapping[str, Any]], *, metric: str, stages: Mapping[int, str]) -> Table:
    """List trials, one a row; on a narrow terminal they fold, so that no digit is lost."""
    names = ("trial", "stage", "round", "state", "epochs", metric, "params")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None, pad_edge=False)
    for record in records:
        value = record["metrics"].get(metric)
        table.add_row(
            str(record["number"]),
            stages.get(record["stage"], str(record["stage"])),
            str(record["round"]),
            record["state"],
            str(record["epochs"]),
            "" if value is None else value_text(value),
            record["message"] or params_text(record["params"]),
        )
    return table


def best(job: JobArgument = None, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show a job's winner: params, metrics, test metrics, bundle."""
    with open_store(home) as store:
        found = _find(store, job)
    if not found.result:
        reason = f": {found.message}" if found.message else ""
        raise ConflictError(f"a winner is known when a job has completed, {found.id} is {found.state}{reason}")
    if as_json:
        write_json(job_summary(found))
    else:
        print_result(make_console(), found, home=home, fresh=True)


def export(
    job: JobArgument = None,
    home: HomeOption = DEFAULT_HOME,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="Folder to write; it must not exist. Default: below HOME/bundles.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the winner's bundle again, elsewhere; the test split is not read again."""
    from service.exports import export_again

    with open_store(home) as store:
        found = _find(store, job)
        path = export_again(store, found, home=home, to=to)
    if as_json:
        write_json({"job_id": found.id, "bundle": str(path)})
    else:
        make_console().print(f"bundle: {path}", highlight=False, soft_wrap=True)
