"""From a resolved job to its plan; what `auto` and `history` mean is decided here and recorded with the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_modules.fused import FREE, choose
from lightning_modules.training import TrainingSettings
from service.catalog import ResolvedJob, fixed_values
from service.home import Home
from service.search import Plan, make_plan
from service.search.prior import starting_points
from service.store import JobRecord, JobState, Store

# A core is busy with a few members, and more of them would leave other cores idle; a GPU takes what there is.
CPU_COHORT, GPU_COHORT = 8, 64


def plan_job(job: ResolvedJob, *, starts: Sequence[Mapping[str, Any]] = ()) -> Plan:
    """Make a job's plan.

    Args:
        job: The resolved spec.
        starts: Starting points, where the spec asks for them.

    Raises:
        InvalidSpecError: The budget is too small for one round, or nothing is left to search.
    """
    cohort_size = _cohort_size(job)
    return make_plan(
        job.spec,
        job.space,
        metric=job.metric,
        mode=job.mode,
        cohort_size=cohort_size,
        shape=_shape(job, cohort_size),
        starts=tuple(starts),
    )


def _cohort_size(job: ResolvedJob) -> int:
    """Say how many trials may be trained as one network; a person's own modules are trained one by one."""
    resources = job.spec.resources
    if job.data is None or not isinstance(job.spec.family, str):
        return 1
    if resources.cohort_size != "auto":
        return resources.cohort_size
    return GPU_COHORT if resources.gpu else CPU_COHORT


def _shape(job: ResolvedJob, cohort_size: int) -> tuple[str, ...]:
    """Name the hyperparameters that the members of a cohort have in common; none where a cohort saves nothing."""
    if cohort_size < 2 or job.data is None:
        return ()
    defaults = {**fixed_values(job.spec, job.start), **job.space.defaults()}
    settings = TrainingSettings(
        metric=job.metric,
        mode=job.mode,
        max_epochs=job.spec.budget.max_epochs_per_trial,
        accelerator="cuda" if job.spec.resources.gpu else "cpu",
    )
    start = job.start.start if job.start else None
    choice = choose(job.spec.family_name, [defaults] * 2, job.data, settings=settings, start=start)
    if choice.fewest is None or choice.fewest > cohort_size:
        return ()
    return tuple(name for name in job.space.names if name not in FREE)


def find_starts(job: ResolvedJob, store: Store | None, known: JobRecord | None) -> tuple[Mapping[str, Any], ...]:
    """Find the starting points that a spec asks for with `search.prior: history`.

    Args:
        job: The resolved spec.
        store: Where earlier jobs are; None where there are none.
        known: The job itself if it goes on: then what its plan recorded, whatever has finished since.
    """
    if job.spec.search.prior == "none":
        return ()
    if known is not None and known.plan is not None:
        return tuple(known.plan["starts"])
    return starting_points(job.space, _winners(job, store, known.owner if known else "local") if store else [])


def find_starts_at(home: Home, job: ResolvedJob, known: JobRecord | None = None) -> tuple[Mapping[str, Any], ...]:
    """Find the starting points among the jobs of a home, which need not be there."""
    if not home.store_file.exists():
        return find_starts(job, None, known)
    with Store.open(home.store_url()) as store:
        return find_starts(job, store, known)


def _winners(job: ResolvedJob, store: Store, owner: str) -> list[Mapping[str, Any]]:
    """Give what won an owner's finished jobs of this family, oldest first; a job run twice counts once."""
    winners: dict[str, Mapping[str, Any]] = {}
    after: str | None = None
    while page := store.jobs(limit=200, after=after, state=JobState.COMPLETED, owner=owner):
        for earlier in page:
            if earlier.spec["family"] == job.spec.model_dump(mode="json")["family"] and earlier.result:
                winners.setdefault(earlier.spec_fingerprint, earlier.result["best"]["params"])
        after = page[-1].id
    return list(reversed(winners.values()))
