"""What a run of a job stands on: its data, its plan, and an engine that knows both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.catalog import ResolvedJob, resolve
from service.context import leg_context
from service.engine.base import Engine
from service.engine.train import LegContext
from service.plans import plan_job
from service.search import Plan
from service.seats import Seats
from service.spec import Spec
from service.store import JobRecord
from service.tracking import preload

Say = Callable[[str], None]
FindStarts = Callable[[ResolvedJob], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that is there before the first leg."""

    resolved: ResolvedJob
    plan: Plan
    context: LegContext
    engine: Engine
    ray_init_s: float
    started_at: float  # by the monotonic clock: when the job's time began


def prepare(spec: Spec, seats: Seats, *, find_starts: FindStarts, say: Say) -> Prepared:
    """Read the data, make the plan and start the engine; nothing is written.

    Args:
        spec: The job.
        seats: Where its legs are trained.
        find_starts: Finds the starting points of a spec that asks for them.
        say: Told in a few words what takes time.

    Raises:
        InvalidSpecError: The spec, the data or the machine breaks a rule.
        TuneladderError: Ray could not be reached or started.
    """
    say("reading data")
    resolved = resolve(spec)
    plan = plan_job(resolved, starts=find_starts(resolved))
    context = leg_context(resolved, plan)
    preload()
    say("starting")
    seats.wait_for_ray()
    started_at = time.monotonic()  # the job's time begins: from here on it waits for nothing but its slots
    return Prepared(
        resolved=resolved,
        plan=plan,
        context=context,
        engine=seats.engine(context),
        ray_init_s=seats.ray_init_s,
        started_at=started_at,
    )


def spec_on_record(job: JobRecord) -> Spec:
    """Read the spec of a job as it was submitted."""
    return Spec.model_validate_json(json.dumps(job.spec), strict=True)
