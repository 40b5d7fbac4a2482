"""Jobs on record with their plan, ready for a runner."""

from __future__ import annotations

from service.search import Plan
from service.store import NewStage, Store


def begin_planned_job(store: Store, plan: Plan, *, name: str, seed: int) -> str:
    """Record a job that follows a plan, start it, and give its id."""
    job = store.create_job(name=name, spec={}, spec_fingerprint=name, base_dir="", seed=seed)
    store.record_plan(
        job.id,
        plan=plan.to_dict(),
        stages=[NewStage(number=s.number, name=s.name, opens=s.opens, why=s.why) for s in plan.stages],
        metric=plan.metric,
        mode=plan.mode,
        data_fingerprint=name,
    )
    store.start_job(job.id)
    return job.id
