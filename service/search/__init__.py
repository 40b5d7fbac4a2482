"""How candidates are found: plan, rounds, rungs, incumbent, strategies. The only door to optuna."""

from search_spaces import SearchSpace
from service.search.history import History
from service.search.joint import JointStrategy
from service.search.ladder import LadderStrategy
from service.search.plan import Plan, Stage, make_plan
from service.search.rounds import OpenRound, Round, Trial, promote, rung_epochs
from service.search.strategy import Rest, StageOutcome, Strategy

__all__ = [
    "History",
    "OpenRound",
    "Plan",
    "Rest",
    "Round",
    "Stage",
    "StageOutcome",
    "Strategy",
    "Trial",
    "make_plan",
    "make_strategy",
    "promote",
    "rung_epochs",
]


def make_strategy(
    plan: Plan, space: SearchSpace, *, seed: int, lr_range: tuple[float, float] | None = None
) -> Strategy:
    """Make the strategy that the plan names.

    Args:
        plan: The plan.
        space: What may vary.
        seed: Of the job.
        lr_range: Where a range test has found that the learning rates lie which are worth a try.
    """
    if plan.strategy == "ladder":
        return LadderStrategy(plan, space, seed=seed, lr_range=lr_range)
    return JointStrategy(plan, space, seed=seed, random=plan.strategy == "random")
