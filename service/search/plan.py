"""The plan: the stages that a spec leads to, with their budget, before anything runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from search_spaces import SearchSpace, StageOutline, outline_stages
from service.errors import InvalidSpecError
from service.search.rounds import Params, round_cost, rung_epochs
from service.spec import Mode, Spec

START = "start"
REFINE = "refine"
REFINE_SHARE = 0.4  # of the budget, kept for the last stage: it removes the stall of one-at-a-time tuning
MIN_CANDIDATES = 3
FIRST_RUNG = 1 / 12  # of a trial: at a twenty-fifth the values of several tasks mislead (docs/search.md)
LADDER_CANDIDATES = 4  # `auto`: the steps of the ladder are small
JOINT_CANDIDATES = 9  # `auto`: two halvings by the usual factor of 3


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: what it opens, and what it may spend."""

    number: int
    name: str
    opens: tuple[str, ...]
    why: str
    num_candidates: int  # of each of its rounds
    max_epochs: int  # the most that it may cost


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job is going to do.

    Args:
        strategy: `ladder`, `joint` or `random`.
        stages: In the order in which they run.
        rungs: Epochs at which a round is compared.
        reduction_factor: One in this many goes on.
        budget_epochs: The most that all trials together may train.
        max_epochs: Of one trial.
        metric: The objective.
        mode: Its direction.
        left_out: Stages that the budget does not reach, by name.
        cohort_size: Trials that are trained as one network in one leg, at most.
        shape: Hyperparameters that such trials have in common, where training together saves time: the candidates
            of a large round share them.
        starts: Starting points from earlier jobs; the first stage compares them with the defaults.
        optimizer: That the spec fixes; learning rates follow a change of batch size by its rule.
        lr_range_test: Whether a range test narrows the learning rates of the first stage that opens them.
    """

    strategy: str
    stages: tuple[Stage, ...]
    rungs: tuple[int, ...]
    reduction_factor: int
    budget_epochs: int
    max_epochs: int
    metric: str
    mode: Mode
    left_out: tuple[str, ...] = ()
    cohort_size: int = 1
    shape: tuple[str, ...] = ()
    starts: tuple[Params, ...] = ()
    optimizer: str | None = None
    lr_range_test: bool = False

    @property
    def num_trials(self) -> int:
        """Estimate the number of trials: every stage's rounds at their full cost."""
        return sum(
            stage.num_candidates * max(1, stage.max_epochs // self.round_cost(stage.num_candidates))
            for stage in self.stages
        )

    def round_cost(self, num_candidates: int) -> int:
        """Count the most epochs that a round of so many candidates can cost."""
        return round_cost(num_candidates, self.rungs, self.reduction_factor)

    def to_dict(self) -> dict[str, Any]:
        """Describe the plan as JSON primitives."""
        # Through JSON: a tuple comes back from the record as a list, and the same plan must equal itself.
        body: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return body | {"num_trials": self.num_trials}


def make_plan(
    spec: Spec,
    space: SearchSpace,
    *,
    metric: str,
    mode: Mode,
    cohort_size: int = 1,
    shape: tuple[str, ...] = (),
    starts: tuple[Params, ...] = (),
) -> Plan:
    """Turn a spec and a space into stages.

    Args:
        spec: The validated spec.
        space: What may vary; parameters that the spec's `model` fixes are not in it.
        metric: The objective's metric, resolved.
        mode: Its direction, resolved.
        cohort_size: Trials of one leg at most, resolved.
        shape: Names of the hyperparameters that the members of a cohort have in common.
        starts: Starting points from earlier jobs, where the spec asks for them.

    Raises:
        InvalidSpecError: The budget is too small for one round, or nothing is left to search.
    """
    if not len(space):
        raise InvalidSpecError(
            "at least one parameter must be open, got none: remove some from model or give search.space",
            field="search.space",
        )
    max_epochs = spec.budget.max_epochs_per_trial
    first = spec.search.rungs.min_epochs
    rungs = rung_epochs(
        min_epochs=max(1, round(FIRST_RUNG * max_epochs)) if first == "auto" else first,
        max_epochs=max_epochs,
        reduction_factor=spec.search.rungs.reduction_factor,
    )
    factor = spec.search.rungs.reduction_factor
    smallest = round_cost(2, rungs, factor)
    if spec.budget.epochs < smallest:
        raise InvalidSpecError(
            f"the budget must hold one round of 2 candidates, which is {smallest} epochs with rungs "
            f"{', '.join(map(str, rungs))}, got {spec.budget.epochs}: raise budget.epochs or lower "
            "budget.max_epochs_per_trial",
            field="budget.epochs",
        )
    stages, left_out = (
        _ladder_stages(spec, space, rungs, starts)
        if spec.search.strategy == "ladder"
        else _one_stage(spec, space, rungs)
    )
    return Plan(
        strategy=spec.search.strategy,
        stages=stages,
        rungs=rungs,
        reduction_factor=factor,
        budget_epochs=spec.budget.epochs,
        max_epochs=spec.budget.max_epochs_per_trial,
        metric=metric,
        mode=mode,
        left_out=left_out,
        cohort_size=cohort_size,
        shape=shape,
        starts=starts,
        optimizer=optimizer if isinstance(optimizer := spec.model.get("optimizer"), str) else None,
        lr_range_test=spec.search.lr_range_test,
    )


def _one_stage(
    spec: Spec, space: SearchSpace, rungs: tuple[int, ...]
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    why = {
        "joint": "everything is open at once: a TPE study over the whole space",
        "random": "everything is open at once: candidates are drawn at random",
    }[spec.search.strategy]
    factor, wanted = spec.search.rungs.reduction_factor, spec.search.candidates
    candidates = JOINT_CANDIDATES if wanted == "auto" else wanted
    while round_cost(candidates, rungs, factor) > spec.budget.epochs:
        candidates -= 1
    stage = Stage(
        number=0,
        name=spec.search.strategy,
        opens=space.names,
        why=why,
        num_candidates=candidates,
        max_epochs=spec.budget.epochs,
    )
    return (stage,), ()


def _ladder_stages(
    spec: Spec, space: SearchSpace, rungs: tuple[int, ...], starts: tuple[Params, ...]
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """Give each step one round, highest priority first, while the budget lasts; the rest refines jointly."""
    factor = spec.search.rungs.reduction_factor
    wanted = LADDER_CANDIDATES if spec.search.candidates == "auto" else spec.search.candidates
    outlines = outline_stages(space, spec.search.order)
    total = spec.budget.epochs
    available = total - int(REFINE_SHARE * total) if len(space) > 1 else total
    candidates = wanted
    while candidates > MIN_CANDIDATES and _cost(outlines, candidates, rungs, factor) > available:
        candidates -= 1
    stages: list[Stage] = []
    spent = 0
    if starts:
        stages.append(_start_stage(space, rungs, factor, len(starts) + 1, available))
        spent = stages[0].max_epochs
    for outline in outlines:
        count = _candidates(outline, candidates)
        cost = round_cost(count, rungs, factor)
        if spent + cost > available and stages:
            break
        while cost > total:
            count -= 1
            cost = round_cost(count, rungs, factor)
        spent += cost
        stages.append(
            Stage(
                number=len(stages),
                name=outline.name,
                opens=outline.opens,
                why=outline.why,
                num_candidates=count,
                max_epochs=cost,
            )
        )
    num_reached = len(stages) - bool(starts)
    left_out = tuple(outline.name for outline in outlines[num_reached:])
    if total - spent >= round_cost(2, rungs, factor):
        stages.append(_refine_stage(len(stages), space, total - spent, candidates))
    return tuple(stages), left_out


def _candidates(outline: StageOutline, candidates: int) -> int:
    """Give the first, heaviest stage more candidates than the later ones."""
    return round(candidates * 1.5) if outline.weight >= 2 else candidates


def _cost(outlines: list[StageOutline], candidates: int, rungs: tuple[int, ...], factor: int) -> int:
    return sum(round_cost(_candidates(outline, candidates), rungs, factor) for outline in outlines)


def _start_stage(space: SearchSpace, rungs: tuple[int, ...], factor: int, count: int, available: int) -> Stage:
    while count > 2 and round_cost(count, rungs, factor) > available:
        count -= 1
    return Stage(
        number=0,
        name=START,
        opens=space.names,
        why="what won earlier jobs of this family, beside the defaults: a better start saves whole stages",
        num_candidates=count,
        max_epochs=round_cost(count, rungs, factor),
    )


def _refine_stage(number: int, space: SearchSpace, max_epochs: int, candidates: int) -> Stage:
    return Stage(
        number=number,
        name=REFINE,
        opens=space.names,
        why="all open at once around the incumbent, with everything seen so far: mends what tuning one at a "
        "time misses, and takes over what earlier stages did not spend",
        num_candidates=candidates,
        max_epochs=max_epochs,
    )
