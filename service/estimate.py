"""How long a plan will take: a few training steps of the family's defaults, timed on this machine."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

from service.catalog import ResolvedJob
from service.search import Plan

SAMPLE_ROWS = 512  # of the training split; enough for a few steps of any batch size
START_S = 10.0  # Ray, and the import of torch and Lightning in its workers


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of time.

    Args:
        epoch_s: One epoch of a trial of the family's defaults on one core of this machine, in a round's company.
        num_slots: Slots that it is divided by.
        total_s: The whole job, if every epoch of the budget is trained.
    """

    epoch_s: float
    num_slots: int
    total_s: float

    def to_dict(self) -> dict[str, Any]:
        """Describe it as JSON primitives."""
        return asdict(self)

    def text(self) -> str:
        """Say it in one line."""
        return (
            f"time: about {_duration(self.total_s)} with {self.num_slots} slots on this machine if every epoch "
            f"is trained at the cost of the defaults ({self.epoch_s:.2g} s); wider networks take longer, stopped "
            "trials give time back"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate_time(job: ResolvedJob, plan: Plan) -> Estimate | None:
    """Time one epoch of the defaults on a sample of the training rows and scale it up.

    Returns:
        None for a person's own module or data, whose cost nobody knows before it runs.
    """
    if job.data is None or job.spec.family_name != job.space.name or ":" in job.space.name:
        return None
    from service.cohorts import FusedShapes
    from service.context import leg_context
    from service.engine.train import train_leg
    from service.legs import Leg, Member

    train = job.data.train
    rows = min(SAMPLE_ROWS, len(train))
    sample = replace(
        job.data,
        train=replace(train, inputs={k: v[:rows] for k, v in train.inputs.items()}, target=train.target[:rows]),
        info=replace(job.data.info, num_train=rows),
    )
    context = replace(leg_context(job, plan), data=sample, max_epochs=3, patience=None, use_gpu=False)
    params = job.space.defaults()
    together = plan.cohort_size if FusedShapes(context)(params) is not None else 1
    size = min(together, max(stage.num_candidates for stage in plan.stages))
    members = tuple(Member(number=number, params=params, seed=number) for number in range(size))
    leg = Leg(key="warm-up", members=members, start_epoch=0, end_epoch=1)
    warm = train_leg(context, leg).members
    if any(one.state == "failed" or one.checkpoint is None for one in warm):
        return None
    timed = tuple(replace(one, checkpoint=of.checkpoint) for one, of in zip(members, warm, strict=True))
    results = train_leg(context, replace(leg, members=timed, start_epoch=1, end_epoch=2)).members
    epoch_s = sum(one.train_s for one in results) / size * len(train) / rows
    slots = max(1, (os.cpu_count() or 1) // job.spec.resources.cpu)
    return Estimate(epoch_s=epoch_s, num_slots=slots, total_s=START_S + plan.budget_epochs * epoch_s / slots)
