"""`tuneladder plan` and `tuneladder spaces`: what would happen, before anything runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from search_spaces import SPACES, SearchSpace
from search_spaces.lr_range import NUM_SEEDS, NUM_STEPS
from service.cli.options import DEFAULT_HOME, HomeOption, JsonOption, SpecArgument, make_console, write_json
from service.cli.results import params_text
from service.errors import NotFoundError
from service.home import Home


def plan(spec: SpecArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the stages of a job, what each opens and why, trials, epochs and an estimate of time.

    Of HOME only its earlier jobs are read, and only for a spec with `search.prior: history`.
    """
    from service.catalog import resolve
    from service.documents import load_spec
    from service.dry_run import plan_document
    from service.estimate import estimate_time
    from service.plans import find_starts_at, plan_job

    document = load_spec(spec)
    job = resolve(document)
    planned = plan_job(job, starts=find_starts_at(Home(home), job))
    estimate = estimate_time(job, planned)
    if as_json:
        write_json(plan_document(planned, estimate, job))
        return
    console = make_console()
    console.print(
        f"{document.name}: {document.family_name} by {planned.strategy}, {planned.metric} ({planned.mode}), "
        f"rungs at epochs {', '.join(map(str, planned.rungs))}; one trial in {planned.reduction_factor} goes on"
    )
    table = Table("stage", "opens", "range", "trials", "epochs", "why", box=None, pad_edge=False)
    for stage in planned.stages:
        ranges = [f"{name}: {job.space[name].text()}" for name in stage.opens]
        rounds = max(1, stage.max_epochs // planned.round_cost(stage.num_candidates))
        table.add_row(
            f"{stage.number} {stage.name}",
            ", ".join(stage.opens) if len(stage.opens) < 4 else "everything",
            "\n".join(ranges) if len(stage.opens) < 4 else "",
            f"{stage.num_candidates * rounds}",
            f"<= {stage.max_epochs}",
            stage.why,
        )
    console.print(table)
    for number, start in enumerate(planned.starts, start=1):
        console.print(f"starting point {number}, of an earlier job: {params_text(start)}")
    if planned.lr_range_test:
        console.print(
            f"before the first stage: a learning-rate range test, {NUM_SEEDS} seeds of {NUM_STEPS} steps; it "
            "narrows the range of lr there"
        )
    wanted = document.search.candidates
    if isinstance(wanted, int) and any(stage.num_candidates < wanted for stage in planned.stages):
        console.print(f"rounds start with fewer than {wanted} candidates where the budget holds no more")
    if planned.left_out:
        console.print(f"not reached by this budget, open in the last stage only: {', '.join(planned.left_out)}")
    console.print(f"about {planned.num_trials} trials, at most {planned.budget_epochs} epochs in all")
    console.print(estimate.text() if estimate else "time: not estimated for data of your own")
    for text in job.warnings:
        console.print(f"warning: {text}", markup=False)


def spaces(
    family: Annotated[str | None, typer.Argument(metavar="FAMILY", help="mlp, cnn or rnn; default: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the families' search spaces: ranges, defaults, the order of tuning and the reasons."""
    if family is not None and family not in SPACES:
        raise NotFoundError(f"families are {', '.join(SPACES)}, got {family!r}: choose one")
    chosen = [SPACES[family]] if family else list(SPACES.values())
    if as_json:
        write_json({space.name: _space_record(space) for space in chosen})
        return
    console = make_console()
    for space in chosen:
        console.print(_space_table(space))
        if space.optional:
            names = ", ".join(parameter.name for parameter in space.optional)
            console.print(f"optional, searched where search.space names them: {names}")
        console.print()


def _space_record(space: SearchSpace) -> dict[str, Any]:
    from search_spaces import outline_stages

    stages = [{"name": s.name, "opens": list(s.opens), "why": s.why} for s in outline_stages(space)]
    return space.to_dict() | {"stages": stages}


def _space_table(space: SearchSpace) -> Table:
    from search_spaces import outline_stages

    table = Table("", "parameter", "range", "default", "opened with", "why this range", box=None, pad_edge=False)
    table.title = f"{space.name}: in the order of tuning"
    table.title_justify = "left"
    for number, stage in enumerate(outline_stages(space), start=1):
        parameter = space[stage.name]
        table.add_row(
            str(number),
            parameter.name,
            parameter.text(),
            f"{parameter.default:g}" if isinstance(parameter.default, float) else str(parameter.default),
            ", ".join(stage.opens[1:]),
            parameter.why + (f" [{parameter.source}]" if parameter.source else "").replace("[", "\\["),
        )
    return table
