"""Records of the store as the API shows them: `service.api.schemas` says what each holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi.responses import Response
from pydantic_core import to_json

from lightning_modules.health import complaints, without_health
from search_spaces import SearchSpace, outline_stages
from service.api.schemas import JobSummary as JobSummarySchema
from service.store import (
    AuditRecord,
    EventRecord,
    ExportRecord,
    JobRecord,
    JobSummary,
    StageRecord,
    Tally,
    TimedMeasurement,
    TokenRecord,
    TrialRecord,
)

Document = dict[str, Any]
_SUMMARY_FIELDS = tuple(JobSummarySchema.model_fields)


class Json(Response):
    """An answer that is written once: records were validated when they came, their schema is documented."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write it as JSON; numbers that are none become null."""
        return to_json(content, inf_nan_mode="null")


def page_view(items: Iterable[Document], next_cursor: str | None = None) -> Document:
    """Show a part of a list."""
    return {"items": list(items), "next_cursor": next_cursor}


def job_summary_view(job: JobSummary) -> Document:
    """Show what is known of a job without its documents."""
    return {name: getattr(job, name) for name in _SUMMARY_FIELDS}


def listed_job_view(job: JobSummary, tally: Tally) -> Document:
    """Show a job in a list."""
    return job_summary_view(job) | asdict(tally)


def job_view(job: JobRecord) -> Document:
    """Show a whole job; where its bundle lies on the server is nobody's business."""
    result = None
    if job.result is not None:
        result = {key: value for key, value in job.result.items() if key != "bundle"}
    return job_summary_view(job) | {
        "spec_fingerprint": job.spec_fingerprint,
        "data_fingerprint": job.data_fingerprint,
        "spec": job.spec,
        "plan": job.plan,
        "result": result,
    }


def best_view(job: JobRecord) -> Document:
    """Show the winner of a job that has a result."""
    result = job.result or {}
    best = result.get("best") or {}
    return {
        "job_id": job.id,
        "number": job.best_trial,
        "params": best.get("params") or {},
        "metric": job.metric,
        "mode": job.mode,
        "epoch": best.get("epoch"),
        "metrics": best.get("metrics") or {},
        "test": result.get("test"),
        "importances": result.get("importances"),
    }


def stage_view(stage: StageRecord) -> Document:
    """Show a stage."""
    return {
        "number": stage.number,
        "name": stage.name,
        "opens": stage.opens,
        "why": stage.why,
        "state": stage.state,
        "outcome": stage.outcome,
    }


def trial_view(trial: TrialRecord, measured: Sequence[TimedMeasurement], *, whole: bool) -> Document:
    """Show a trial.

    Args:
        trial: The trial.
        measured: All its measurements, or the one of its best epoch.
        whole: Show measurements and health.
    """
    best: Mapping[str, float | None] = next((m.metrics for m in measured if m.epoch == trial.best_epoch), {})
    measurements = [{"epoch": m.epoch, "metrics": m.metrics, "measured_at": m.measured_at} for m in measured]
    return {
        "number": trial.number,
        "stage": trial.stage,
        "round": trial.round,
        "params": trial.params,
        "seed": trial.seed,
        "state": trial.state,
        "epochs": trial.epochs,
        "best_epoch": trial.best_epoch,
        "best_value": trial.best_value,
        "metrics": without_health(best),
        "message": trial.message,
        "num_legs": trial.num_legs,
        "created_at": trial.created_at,
        "ended_at": trial.ended_at,
        "health": complaints(m.metrics for m in measured) if whole else None,
        "measurements": measurements if whole else None,
    }


def event_view(event: EventRecord) -> Document:
    """Show an event; where a bundle lies on the server stays out of it."""
    data = {key: value for key, value in event.data.items() if (event.kind, key) != ("export", "path")}
    return {"number": event.number, "at": event.at, "kind": event.kind, "data": data}


def export_view(export: ExportRecord) -> Document:
    """Show a bundle."""
    names = ("id", "job_id", "trial", "state", "formats", "message", "requested_by", "created_at", "ended_at")
    return {name: getattr(export, name) for name in names}


def token_view(token: TokenRecord) -> Document:
    """Show a token."""
    names = ("id", "name", "owner", "role", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {name: getattr(token, name) for name in names}


def audit_view(entry: AuditRecord) -> Document:
    """Show an entry of the audit."""
    names = ("id", "at", "owner", "token_id", "action", "job_id", "detail")
    return {name: getattr(entry, name) for name in names}


def space_view(space: SearchSpace) -> Document:
    """Show a search space with its stages, in the order of tuning."""
    stages = [{"name": stage.name, "opens": stage.opens, "why": stage.why} for stage in outline_stages(space)]
    return space.to_dict() | {"stages": stages}
