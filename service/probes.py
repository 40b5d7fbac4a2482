"""Before the search: short trainings through the job's engine, on record before anything follows from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import Float, LrRange, SearchSpace, Value, scaled_learning_rate, suggest_lr_range
from search_spaces.lr_range import NUM_SEEDS, NUM_STEPS
from service.engine.base import Engine
from service.errors import JobFailedError
from service.legs import Leg, LegKind, Member
from service.spec import Spec
from service.store import ProbeRecord, Store

WITHOUT_CHECK = "or write checks: {overfit: false} to go on without this check"


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Has probes carried out, each once in a job's life.

    Args:
        store: The job is in it, and running.
        job_id: The job.
        engine: Carries them out, side by side where there are slots.
    """

    store: Store
    job_id: str
    engine: Engine

    def run(self, legs: Sequence[Leg]) -> list[ProbeRecord]:
        """Answer probes from the record where they are on it, and have the engine carry out the others."""
        found: dict[str, ProbeRecord] = {}
        missing: dict[str, Leg] = {}
        for leg in legs:
            known = self.store.probe(self.job_id, leg.key, _fingerprint(leg))
            if known is None:
                missing[leg.key] = leg
            else:
                found[leg.key] = known
        if missing:
            for result in self.engine.run(list(missing.values())):
                leg = missing[result.key]
                found[leg.key] = self.store.record_probe(self.job_id, leg, result, _fingerprint(leg))
        return [found[leg.key] for leg in legs]


def check_overfit(prober: Prober, spec: Spec, space: SearchSpace) -> dict[str, Any]:
    """Check that the default configuration can learn a handful of rows by heart.

    A check that cannot be carried out, as one of a person's own module may not, stops nothing.

    Returns:
        `outcome` (passed, other_lr, skipped) and `message`, for the job's result.

    Raises:
        JobFailedError: It cannot, whatever the learning rate; or not at a learning rate that no trial will change.
    """
    params = default_params(spec, space)
    if "start_from" in spec.model:
        params |= {"freeze_epochs": 0, "loaded_lr_factor": 1.0}  # can the network learn, once it may?
    record = prober.run([probe("overfit", params, seed=spec.seed)])[0]
    if record.report is None:
        return {"outcome": "skipped", "message": record.message}
    report = record.report
    lr_is_open = "lr" in space.names or not isinstance(spec.family, str)
    is_stuck = report["outcome"] == "other_lr" and not report["falls"] and not lr_is_open
    if report["outcome"] == "failed" or is_stuck:
        raise JobFailedError(
            f"the default configuration must be able to learn a handful of rows by heart, it cannot; what looks "
            f"broken is the {report['suspect']}: {report['message']}, {WITHOUT_CHECK}"
        )
    return {"outcome": report["outcome"], "message": report["message"]}


def measure_lr_range(prober: Prober, spec: Spec, space: SearchSpace) -> LrRange | None:
    """Find out where learning rates are worth a try, from a few seeds side by side.

    Returns:
        Never wider than the space's own range; None where the test says nothing, as where the loss does not fall.
    """
    lr = space["lr"]
    assert isinstance(lr, Float)
    arguments = {"low": lr.low, "high": lr.high, "num_steps": NUM_STEPS}
    params = default_params(spec, space)
    legs = [probe("lr_range", params, seed=spec.seed, number=i, arguments=arguments) for i in range(NUM_SEEDS)]
    curves = [record.report for record in prober.run(legs) if record.report is not None]
    return suggest_lr_range(curves, low=lr.low, high=lr.high) if curves else None


def default_params(spec: Spec, space: SearchSpace) -> dict[str, Value]:
    """Give the space's defaults, with the learning rate where a fixed optimizer wants it."""
    params = space.defaults()
    if "lr" not in params or not isinstance(spec.family, str):
        return params
    optimizer = str(spec.model.get("optimizer") or "adamw")  # what the defaults of the families are meant for
    lr = scaled_learning_rate(float(params["lr"]), before={"optimizer": "adamw"}, after={"optimizer": optimizer})
    return params | {"lr": lr}


def probe(
    kind: LegKind,
    params: Mapping[str, Value],
    *,
    seed: int,
    number: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> Leg:
    """Make the leg of a probe; everything random in it follows from the job's seed and its key."""
    key = f"{kind}-{number}"
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    member = Member(number=number, params=params, seed=int.from_bytes(digest[:8], "big") >> 1)
    return Leg(key=key, members=(member,), start_epoch=0, end_epoch=0, kind=kind, arguments=arguments or {})


def _fingerprint(leg: Leg) -> str:
    (member,) = leg.members
    body = [leg.kind, member.seed, dict(member.params), dict(leg.arguments)]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
