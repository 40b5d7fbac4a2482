"""`python -m service.dry_run`: the plan of a spec, made in a process of its own for those who do not import torch.

Reads one JSON object from standard input: `spec` (validated before), `store_url` (null: no earlier jobs) and
`limit_s`. Writes one to standard output: `plan`, or `error` with `message` and `field`.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from service.errors import TuneladderError

if TYPE_CHECKING:
    from service.catalog import ResolvedJob
    from service.estimate import Estimate
    from service.search import Plan


def plan_document(plan: Plan, estimate: Estimate | None, job: ResolvedJob) -> dict[str, Any]:
    """Write a plan as `tuneladder plan --json` and the API show it."""
    return plan.to_dict() | {
        "estimate": estimate.to_dict() if estimate else None,
        "warnings": list(job.warnings),
    }


def make_plan_document(spec_body: Mapping[str, Any], store_url: str | None) -> dict[str, Any]:
    """Make the plan of a spec; nothing is written anywhere.

    Raises:
        InvalidSpecError: The spec does not fit its data or its family.
    """
    from service.catalog import resolve
    from service.estimate import estimate_time
    from service.plans import find_starts, plan_job
    from service.spec import Spec
    from service.store import Store

    job = resolve(Spec.model_validate_json(json.dumps(spec_body), strict=True))
    if store_url is None or job.spec.search.prior == "none":
        starts = find_starts(job, None, None)
    else:
        with Store.open(store_url) as store:
            starts = find_starts(job, store, None)
    plan = plan_job(job, starts=starts)
    return plan_document(plan, estimate_time(job, plan), job)


def main() -> None:
    """Answer one question from standard input on standard output."""
    # What libraries and modules of other people print goes to standard error: the answer is alone on its stream.
    answer = os.dup(1)
    os.dup2(2, 1)
    question = json.load(sys.stdin)
    # Whoever asked ends this process when it takes too long; if they are gone themselves, the alarm does.
    signal.alarm(math.ceil(question["limit_s"]) + 1)
    try:
        document: dict[str, Any] = {"plan": make_plan_document(question["spec"], question["store_url"])}
    except TuneladderError as error:
        field = getattr(error, "field", None)
        document = {"error": {"message": str(error).removeprefix(f"{field}: "), "field": field}}
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(document, stream, allow_nan=False, default=str)


if __name__ == "__main__":
    main()
