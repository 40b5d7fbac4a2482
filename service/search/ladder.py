"""The ladder: hyperparameters in the documented order, one or two at a time, then all around the incumbent."""

from __future__ import annotations

import numpy as np

from search_spaces import SearchSpace
from service.search.designs import stage_designs
from service.search.plan import REFINE, Plan, Stage
from service.search.proposals import Proposer, make_sampler
from service.search.rounds import Params, Round, Trial
from service.search.strategy import RoundMaker, Rounds


class LadderStrategy:
    """Climb the stages of the plan.

    Each stage asks one round of candidates that differ from the incumbent in what the stage opens. A candidate
    that is the best of its round and no worse than the incumbent at the same epochs is trained to full length
    and becomes the incumbent if it is better there. The last stage opens everything: half of its candidates
    come from a TPE study that has been told all trials of the job, half from steps around the incumbent.

    Args:
        plan: The plan.
        space: What may vary.
        seed: Of the job.
    """

    def __init__(self, plan: Plan, space: SearchSpace, *, seed: int) -> None:
        self._maker = RoundMaker(plan, space)
        self._plan = plan
        self._space = space
        self._seed = seed
        self.history = self._maker.history

    def rounds(self) -> Rounds:
        """Ask for rounds, stage by stage, until the budget is spent."""
        for stage in self._plan.stages:
            before = self.history.incumbent
            counts = len(self.history.trials), self.history.epochs
            yield from self._refine(stage) if stage.name == REFINE else self._step(stage)
            yield self._maker.outcome(stage, before, *counts)

    def _generator(self, *path: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *path])

    def _base(self) -> Params:
        """Give what a stage starts from: the incumbent, or the defaults while there is none."""
        incumbent = self.history.incumbent
        return incumbent.params if incumbent else self._space.defaults()

    def _step(self, stage: Stage) -> Rounds:
        """Run one stage: a single round of designs, told to a study of its own."""
        base = self._base()
        if not self._space.is_active(stage.opens[0], base):
            return
        count = self._maker.affordable(stage.num_candidates)
        designs = stage_designs(
            self._space, stage.opens, count, base=base, generator=self._generator(stage.number)
        )
        if stage.number == 0:
            designs = [self._space.defaults(), *designs[: count - 1]]
        candidates = self._maker.fresh(designs)
        if candidates:
            yield from self._train(self._maker.make(stage, candidates, use_rival=True))

    def _refine(self, stage: Stage) -> Rounds:
        """Spend what is left around the incumbent, with everything seen so far."""
        stale, turn = 0, 0
        while stale < 3 and (count := self._maker.affordable(stage.num_candidates)):
            candidates = self._maker.fresh(self._refinements(stage, count, turn))
            turn += 1
            if not candidates:
                stale += 1
                continue
            yield from self._train(self._maker.make(stage, candidates, use_rival=True))

    def _refinements(self, stage: Stage, count: int, turn: int) -> list[Params]:
        seed = int(self._generator(stage.number, turn).integers(2**32))
        proposer = Proposer(
            self._space,
            self._space.names,
            mode=self._plan.mode,
            sampler=make_sampler("tpe", seed=seed, num_startup=0),
        )
        proposer.add(self.history.trials, max_epochs=self._plan.max_epochs)
        asked = proposer.ask(count // 2, base={})
        steps = [self._neighbour(self._generator(stage.number, turn, i)) for i in range(count - len(asked))]
        return [*asked, *steps]

    def _neighbour(self, generator: np.random.Generator) -> Params:
        """Step away from the incumbent: each parameter moves with a chance of one third, at least one does."""
        base = dict(self._base())
        names = list(self._space.names)
        moved = [name for name in names if generator.random() < 1 / 3] or [
            names[int(generator.integers(len(names)))]
        ]
        for name in moved:
            parameter = self._space[name]
            unit = parameter.to_unit(base[name])
            if getattr(parameter, "choices", None) and not parameter.ordered:  # type: ignore[union-attr]
                unit = float(generator.random())
            else:
                unit = float(np.clip(unit + 0.15 * generator.standard_normal(), 0, 1))
            base[name] = parameter.from_unit(unit)
        return base

    def _train(self, round_: Round) -> Rounds:
        trials: tuple[Trial, ...] | None = yield round_
        assert trials is not None
        self.history.add(trials)
