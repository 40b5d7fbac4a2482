"""`tuneladder jobs`, `show`, `trials`, `best`, `export`: what a home folder holds, or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Column, Table

from service.cli.display import standing_parts
from service.cli.options import JobArgument, JsonOption, make_console, write_json
from service.cli.places import HomeChoice, Place, ProfileOption, UrlOption, find_place
from service.cli.reading import Listed, open_reader
from service.cli.records import JobLike, TallyLike
from service.cli.results import heading, job_summary, params_text, print_next, print_result, state_text, value_text
from service.cli.views import JobView, Standing
from service.errors import ConflictError

StateOption = Annotated[
    Literal["queued", "running", "paused", "completed", "failed", "cancelled"] | None,
    typer.Option(help="Only jobs in this state.", show_default=False),
]


def jobs(
    home: HomeChoice = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    state: StateOption = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.", show_default=False)] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="Only jobs of this owner; on a server, for administrators.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with open_reader(find_place(home, url, profile)) as reader:
        found = reader.jobs(limit=limit, state=state, name=name, owner=owner)
    if as_json:
        write_json([_listed(job, tally) for job, tally in found])
    else:
        make_console().print(_jobs_table(found))


def _described(job: JobLike) -> dict[str, Any]:
    rest = {"created_at": job.created_at.isoformat(), "owner": job.owner, "priority": job.priority}
    return job_summary(job) | rest


def _listed(job: JobLike, tally: TallyLike) -> dict[str, Any]:
    counted = {"num_trials": tally.num_trials, "num_epochs": tally.num_epochs, "best_value": tally.best_value}
    return _described(job) | counted


def _jobs_table(found: Listed) -> Table:
    """List jobs, one a row; owners and priorities where they differ."""
    with_owner = len({job.owner for job, _ in found}) > 1
    with_priority = any(job.priority for job, _ in found)
    whole = Column("job", no_wrap=True, overflow="ignore", min_width=13)  # to be copied
    names = ["name", *(["owner"] if with_owner else []), *(["priority"] if with_priority else [])]
    names += ["state", "created", "trials", "epochs", "best", "message"]
    table = Table(whole, *names, box=None, pad_edge=False)
    for job, tally in found:
        cells = [job.id, job.name, *([job.owner] if with_owner else [])]
        cells += [str(job.priority)] if with_priority else []
        cells += [
            state_text(job),
            _moment(job.created_at),
            str(tally.num_trials or ""),
            str(tally.num_epochs or ""),
            f"{job.metric} {value_text(tally.best_value)}" if tally.best_value is not None else "",
            job.message or "",
        ]
        table.add_row(*cells)
    return table


def _moment(at: datetime | None) -> str:
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")


def show(
    job: JobArgument = None,
    home: HomeChoice = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a job: where it stands, its stages, and its result once it has one."""
    place = find_place(home, url, profile)
    with open_reader(place) as reader:
        found = reader.job(job)
        stages, trials = reader.stages(found), reader.trials(found)
    if as_json:
        described = [
            {"number": s.number, "name": s.name, "opens": list(s.opens), "why": s.why, "state": str(s.state)}
            | {"outcome": None if s.outcome is None else dict(s.outcome)}
            for s in stages
        ]
        times = {"started_at": found.started_at, "ended_at": found.ended_at}
        rest = {name: at.isoformat() if at else None for name, at in times.items()}
        write_json(_described(found) | rest | {"wish": found.wish, "stages": described, "spec": found.spec})
        return
    _print_standing(found, Standing.of_record(stages, trials, mode=found.mode))
    if found.result:
        _print_result(found, place)


def _print_standing(job: JobLike, standing: Standing) -> None:
    console = make_console()
    console.print(heading(job), style="bold", highlight=False, soft_wrap=True)
    if job.message:
        console.print(job.message, markup=False, highlight=False, soft_wrap=True)
    times = {"created": job.created_at, "started": job.started_at, "ended": job.ended_at}
    facts = [f"owner {job.owner}", f"priority {job.priority}"]
    facts += [f"{name} {_moment(at)}" for name, at in times.items() if at is not None]
    console.print(", ".join(facts), highlight=False, soft_wrap=True)
    if job.plan:
        console.print(*standing_parts(JobView.of_plan(job.plan, job_id=job.id, name=job.name), standing), sep="\n")


def print_job_result(job: JobLike, place: Place) -> None:
    """Print a finished job that was read from a place: what it found, and what to type next."""
    make_console().print(heading(job), highlight=False, soft_wrap=True)
    _print_result(job, place)


def _print_result(job: JobLike, place: Place) -> None:
    console = make_console()
    if place.server is None:
        print_result(console, job, bundle=str((job.result or {}).get("bundle")))
        print_next(console, f"tuneladder trials{place.options}", f"tuneladder ui{place.options}")
    else:
        print_result(console, job, bundle="on the server")
        which = f"{job.id}{place.options}"
        print_next(console, f"tuneladder trials {which}", f"tuneladder export {which}")


def trials(
    job: JobArgument = None,
    home: HomeChoice = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a job's trials: number, stage, round, params, state, epochs, metrics of the best epoch."""
    with open_reader(find_place(home, url, profile)) as reader:
        found = reader.job(job)
        records = reader.trial_records(found, with_health=as_json)
        names = {stage.number: stage.name for stage in reader.stages(found)}
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


def best(
    job: JobArgument = None,
    home: HomeChoice = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a job's winner: params, metrics, test metrics, bundle."""
    place = find_place(home, url, profile)
    with open_reader(place) as reader:
        found = reader.job(job)
    if not found.result:
        reason = f": {found.message}" if found.message else ""
        raise ConflictError(f"a winner is known when a job has completed, {found.id} is {found.state}{reason}")
    if as_json:
        write_json(job_summary(found))
    else:
        print_job_result(found, place)


def export(
    job: JobArgument = None,
    home: HomeChoice = None,
    url: UrlOption = None,
    profile: ProfileOption = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="Folder to write; it must not exist. Default: below HOME/bundles; of a server: bundle-JOB.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the winner's bundle again, elsewhere, or fetch it from a server; the test split is not read again."""
    with open_reader(find_place(home, url, profile)) as reader:
        found = reader.job(job)
        path = reader.export(found, to)
    if as_json:
        write_json({"job_id": found.id, "bundle": str(path)})
    else:
        make_console().print(f"bundle: {path}", highlight=False, soft_wrap=True)
