"""A job's report: what each stage opened, tried and gained, and what came of it, as a page that MLflow shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import describe_importances
from service.store import JobRecord, StageRecord, TrialRecord, TrialState

EVERYTHING = 4  # more open hyperparameters than this are called everything


def job_report(job: JobRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]) -> str:
    """Write the report in Markdown, from records alone."""
    ended = [trial for trial in trials if trial.state.is_final]
    lines = [
        f"# {job.name} ({job.id})",
        "",
        f"{job.state}: {len(ended)} trials, {sum(trial.epochs for trial in trials)} epochs; objective "
        f"{job.metric} ({job.mode}).",
        *([f"\n{job.message}"] if job.message else []),
        "",
        *_winner(job.result or {}),
        "## Stages",
        "",
        "| stage | opened | why | trials | completed | gain | adopted | outcome |",
        "|---|---|---|---|---|---|---|---|",
        *(_stage(stage, [trial for trial in trials if trial.stage == stage.number]) for stage in stages),
        "",
    ]
    return "\n".join(lines)


def _winner(result: Mapping[str, Any]) -> list[str]:
    best = result.get("best")
    if not best:
        return []
    lines = ["## Winner", "", f"Trial {best['number']}, epoch {best['epoch']}.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_text(value)} |" for name, value in best["params"].items()]
    lines += [f"| **{name}** | {_text(value)} |" for name, value in (result.get("test") or {}).items()]
    lines += [f"| bundle | `{result.get('bundle')}` |", ""]
    if importances := result.get("importances"):
        text = describe_importances(importances)
        lines += [text[0].upper() + text[1:] + ".", ""]
    return lines


def _stage(stage: StageRecord, trials: Sequence[TrialRecord]) -> str:
    outcome = stage.outcome or {}
    opens = ", ".join(stage.opens) if len(stage.opens) <= EVERYTHING else "everything"
    completed = sum(trial.state is TrialState.COMPLETED for trial in trials)
    adopted = {True: "yes", False: "no", None: ""}[outcome.get("adopted")]
    cells = [
        f"{stage.number} {stage.name}",
        opens,
        stage.why,
        str(len(trials)),
        str(completed),
        _text(outcome.get("gain")),
        adopted,
        str(outcome.get("why", stage.state)),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(value: object) -> str:
    if value is None:
        return ""
    return (
        f"{value:.4g}" if isinstance(value, float) else str(value) if isinstance(value, str) else json.dumps(value)
    )
