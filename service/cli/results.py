"""Jobs and trials as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces import describe_importances
from service.cli.records import JobLike, TrialLike


def params_text(params: Mapping[str, Any]) -> str:
    """Write params on one line, numbers short."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in params.items())


def value_text(value: object) -> str:
    """Write a value short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def job_summary(job: JobLike) -> dict[str, Any]:
    """Give the one object that `run --json` ends with."""
    result = dict(job.result or {})
    return {
        "job_id": job.id,
        "name": job.name,
        "state": str(job.state),
        "message": job.message,
        "metric": job.metric,
        "mode": job.mode,
        "num_trials": result.get("num_trials"),
        "num_epochs": result.get("num_epochs"),
        "wall_s": job.active_s,
        "ray_init_s": result.get("ray_init_s"),
        "best": result.get("best"),
        "test": result.get("test"),
        "importances": result.get("importances"),
        "checks": result.get("checks"),
        "health": result.get("health"),
        "bundle": result.get("bundle"),
    }


def trial_record(trial: TrialLike, metrics: Mapping[str, float | None], health: Sequence[str]) -> dict[str, Any]:
    """Give one entry of `trials --json`; `metrics` are those of its best epoch, `health` what was bad in any."""
    return {
        "number": trial.number,
        "stage": trial.stage,
        "round": trial.round,
        "params": dict(trial.params),
        "state": str(trial.state),
        "epochs": trial.epochs,
        "best_epoch": trial.best_epoch,
        "metrics": dict(metrics),
        "health": list(health),
        "message": trial.message,
    }


def _check_notes(checks: Mapping[str, Any]) -> list[str]:
    """Say what was found out before the search, unless all was well."""
    notes = []
    check = checks.get("overfit") or {"outcome": "passed"}
    if check["outcome"] != "passed":
        verb = "could not be carried out" if check["outcome"] == "skipped" else "of the defaults"
        notes.append(f"overfit check {verb}: {check['message']}")
    if "lr_range" in checks:
        found = checks["lr_range"]
        text = f"{found['low']:.2g} to {found['high']:.2g}" if found else "nothing, for the loss did not fall"
        notes.append(f"learning-rate range test: {text}")
    return notes


def _health_notes(health: Mapping[str, Any], *, winner: int | None) -> list[str]:
    """Say what was bad about the winner's health, and of how many trials there is something to say."""
    notes = [f"health of trial {winner}: {complaint}" for complaint in health.get(str(winner), ())]
    others = [int(number) for number in health if number != str(winner)]
    if others:
        some = ", ".join(map(str, others[:5])) + (" and others" if len(others) > 5 else "")
        notes.append(f"health: something is bad in {len(others)} trials ({some}); trials --json says what")
    return notes


def heading(job: JobLike) -> str:
    """Say in one line which job it is and where it stands."""
    result = job.result
    if not result:
        return f"job {job.id} {job.name}: {state_text(job)}"
    return (
        f"job {job.id} {job.name}: {job.state} after {result.get('num_trials')} trials and "
        f"{result.get('num_epochs')} epochs in {job.active_s:.0f} s"
    )


def state_text(job: JobLike) -> str:
    """Say where a job stands, and what was asked of it and is not done yet."""
    asked = {"pause": "pausing", "cancel": "cancelling", "preempt": "making way"}
    return f"{job.state} ({asked.get(job.wish, job.wish)})" if job.wish else str(job.state)


def print_result(console: Console, job: JobLike, *, bundle: str) -> None:
    """Print what a finished job found: winner, test metrics, bundle.

    Args:
        console: Where.
        job: A job with a result.
        bundle: Where its bundle is.
    """
    result = job.result or {}
    best = result.get("best") or {}
    if result.get("out_of_time"):
        console.print("the wall-clock budget ended it early", highlight=False)
    value = (best.get("metrics") or {}).get(job.metric or "")
    console.print(
        f"winner: trial {best.get('number')}, {job.metric} {value_text(value)} at epoch {best.get('epoch')}",
        style="bold",
        highlight=False,
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, setting in (best.get("params") or {}).items():
        table.add_row(f"  {name}", value_text(setting))
    console.print(table)
    if importances := result.get("importances"):
        console.print(describe_importances(importances), highlight=False, soft_wrap=True)
    for note in _health_notes(result.get("health") or {}, winner=best.get("number")):
        console.print(note, highlight=False, soft_wrap=True)
    for note in _check_notes(result.get("checks") or {}):
        console.print(note, highlight=False, soft_wrap=True)
    measured = result.get("test") or {}
    numbers = {name: number for name, number in measured.items() if not isinstance(number, Mapping)}
    test = ", ".join(f"{name} {value_text(number)}" for name, number in numbers.items())
    console.print(f"test split, read once: {test}", style="bold", highlight=False, soft_wrap=True)
    console.print(f"bundle: {bundle}", highlight=False, soft_wrap=True)


def print_next(console: Console, *commands: str) -> None:
    """Print what to type next."""
    console.print(f"next: {'   or   '.join(commands)}", highlight=False, soft_wrap=True)
