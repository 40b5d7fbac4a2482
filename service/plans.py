"""From a resolved job to its plan; what `auto` means is decided here and recorded with the plan."""

from __future__ import annotations

from service.catalog import ResolvedJob
from service.search import Plan, make_plan


def plan_job(job: ResolvedJob) -> Plan:
    """Make a job's plan.

    Raises:
        InvalidSpecError: The budget is too small for one round, or nothing is left to search.
    """
    size = job.spec.resources.cohort_size
    return make_plan(
        job.spec, job.space, metric=job.metric, mode=job.mode, cohort_size=1 if size == "auto" else size
    )
