"""Everything open at once: TPE over the whole space, or plain random draws, through the same rounds."""

from __future__ import annotations

import optuna

from search_spaces import SearchSpace
from service.search.plan import Plan
from service.search.proposals import Proposer
from service.search.strategy import RoundMaker, Rounds


class JointStrategy:
    """One study for the whole job.

    Args:
        plan: A plan of one stage.
        space: What may vary.
        seed: Of the job.
        random: Draw at random instead of by TPE.
    """

    def __init__(self, plan: Plan, space: SearchSpace, *, seed: int, random: bool = False) -> None:
        self._maker = RoundMaker(plan, space)
        self._space = space
        self._plan = plan
        self._random = random
        self._proposer = Proposer(
            space,
            space.names,
            mode=plan.mode,
            sampler=_sampler(random=random, seed=seed % 2**32),
        )
        self.history = self._maker.history

    def rounds(self) -> Rounds:
        """Ask for rounds until the budget is spent; the first of `joint` starts with the defaults."""
        stage = self._plan.stages[0]
        if not self._random:
            self._proposer.enqueue(self._space.defaults())
        stale = 0
        while stale < 3 and (count := self._maker.affordable(stage.num_candidates)):
            asked = self._proposer.ask(count, base={})
            candidates = self._maker.fresh(asked)
            if not candidates:
                stale += 1  # a small space of choices is exhausted
                for params in asked:
                    self._proposer.drop(params)
                continue
            trials = yield self._maker.make(stage, candidates, use_rival=False)
            assert trials is not None
            self.history.add(trials)
            self._proposer.tell(trials, max_epochs=self._plan.max_epochs)
            for params in asked:
                self._proposer.drop(params)
        yield self._maker.outcome(stage, None, 0, 0)


def _sampler(*, random: bool, seed: int) -> optuna.samplers.BaseSampler:
    if random:
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
