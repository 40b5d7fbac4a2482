"""The ladder: hyperparameters in the documented order, one or two at a time, then all around the incumbent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna

from search_spaces import SearchSpace
from service.search.designs import stage_designs
from service.search.plan import REFINE, START, Plan, Stage
from service.search.proposals import Proposer
from service.search.rounds import Forecast, Params, Trial, loss_at
from service.search.sampler import SurrogateSampler
from service.search.strategy import Rest, RoundMaker, Rounds

MAX_STALE = 3  # rounds in a row with nothing new: a small space of choices is exhausted


class LadderStrategy:
    """Climb the stages of the plan.

    Each stage is a study of its own and asks one round of candidates that differ from the incumbent in what the
    stage opens. A candidate that is among the best of its round and no worse than the incumbent at the same epochs
    is trained to full length and becomes the incumbent if it is better there. The last stage opens everything: its
    study has been told all trials of the job, those that stopped early included.

    Args:
        plan: The plan.
        space: What may vary.
        seed: Of the job.
        lr_range: Learning rates that the first stage which opens them spreads its candidates over, where a range
            test has narrowed them; later stages are as free as ever.
    """

    def __init__(
        self, plan: Plan, space: SearchSpace, *, seed: int, lr_range: tuple[float, float] | None = None
    ) -> None:
        self._maker = RoundMaker(plan, space)
        self._plan = plan
        self._space = space
        self._seed = seed
        self._lr_range = lr_range
        self.history = self._maker.history

    def rounds(self) -> Rounds:
        """Ask for rounds, stage by stage, until the budget is spent."""
        for stage in self._plan.stages:
            before = self.history.incumbent
            counts = len(self.history.trials), self.history.epochs
            run = {START: self._start, REFINE: self._refine}.get(stage.name, self._step)
            yield from run(stage)
            yield self._maker.outcome(stage, before, *counts)

    def _base(self) -> Params:
        """Give what a stage starts from: the incumbent, or the defaults while there is none."""
        incumbent = self.history.incumbent
        return incumbent.params if incumbent else self._space.defaults()

    def _start(self, stage: Stage) -> Rounds:
        """Compare what won earlier jobs with the defaults."""
        count = self._maker.affordable(stage.num_candidates)
        sampler = optuna.samplers.RandomSampler(seed=self._seed % 2**32)
        proposer = Proposer(self._space, self._space.names, mode=self._plan.mode, sampler=sampler)
        points = [self._space.defaults(), *self._plan.starts][:count]
        for point in points:
            proposer.enqueue(point)
        yield from self._train(stage, proposer, len(points), base={})

    def _step(self, stage: Stage) -> Rounds:
        """Run one stage: a round of designs, told to a study of what the stage opens."""
        base = self._base()
        count = self._maker.affordable(stage.num_candidates)
        if not count or not self._space.is_active(stage.opens[0], base):
            return
        generator = np.random.default_rng([self._seed, stage.number])
        space = self._spread_over(stage)
        fixed = {"optimizer": self._plan.optimizer} if self._plan.optimizer else {}
        designs = stage_designs(space, stage.opens, count, base=base, fixed=fixed, generator=generator)
        if not self.history.trials:
            designs = [self._space.defaults(), *designs[: count - 1]]
        sampler = optuna.samplers.RandomSampler(seed=int(generator.integers(2**32)))
        proposer = Proposer(self._space, stage.opens, mode=self._plan.mode, sampler=sampler)
        for design in designs:
            proposer.enqueue(design)
        yield from self._train(stage, proposer, count, base=base)

    def _spread_over(self, stage: Stage) -> SearchSpace:
        """Give the space that a stage's candidates are spread over."""
        if self._lr_range is None or stage.opens[0] != "lr":
            return self._space
        low, high = self._lr_range
        return self._space.override({"lr": {"low": low, "high": high}})

    def _refine(self, stage: Stage) -> Rounds:
        """Spend what is left with everything open, from everything seen."""
        generator = np.random.default_rng([self._seed, stage.number])
        seed = int(generator.integers(2**32))
        sampler = SurrogateSampler(self._space, rungs=self._plan.rungs, seed=seed, shape=self._plan.shape)
        proposer = Proposer(self._space, self._space.names, mode=self._plan.mode, sampler=sampler)
        proposer.add(self.history.trials, max_epochs=self._plan.max_epochs)
        stale, is_gated = 0, True
        while stale < MAX_STALE:
            count = self._maker.affordable(stage.num_candidates)
            if count < stage.num_candidates and self.history.has_running:
                yield from self._settle(proposer)  # those who run come to less than is set aside for them
                continue
            if not count:
                break
            known = len(self.history.trials)
            yield from self._train(stage, proposer, count, base={}, use_rival=is_gated, overlapping=sampler)
            new = self.history.trials[known:]
            stale = 0 if new else stale + 1
            # A forecast errs where nothing is known. So a round in which nobody was thought to get past the
            # incumbent is followed by one whose best is trained to full length in any case.
            is_gated = any(trial.state in ("running", "completed") for trial in new)
        yield from self._settle(proposer)

    def _forecast_by(self, sampler: SurrogateSampler) -> Forecast | None:
        forecaster = sampler.forecaster()
        if forecaster is None:
            return None

        def forecast(trials: Sequence[Trial], rung: int) -> dict[int, float]:
            if not trials:
                return {}
            losses = [loss_at(trial, rung, self._plan.mode) for trial in trials]
            expected = forecaster([trial.params for trial in trials], losses, rung)
            return {trial.number: loss for trial, loss in zip(trials, expected, strict=True)}

        return forecast

    def _train(
        self,
        stage: Stage,
        proposer: Proposer,
        count: int,
        *,
        base: Params,
        use_rival: bool = True,
        overlapping: SurrogateSampler | None = None,
    ) -> Rounds:
        """Ask for a round, have what is new in it trained, and tell.

        With a sampler that can tell how running trials will end, its forecasts decide who goes on, and the next
        round may begin before this one is over.
        """
        asked = proposer.ask(count, base=base)
        candidates = self._maker.fresh(asked)
        new = list(candidates)
        for params in asked:
            if params in new:
                new.remove(params)
            else:
                proposer.drop(params)
        if candidates:
            round_ = self._maker.make(
                stage,
                candidates,
                use_rival=use_rival,
                overlaps=overlapping is not None,
                forecast=self._forecast_by(overlapping) if overlapping else None,
            )
            self._learn(proposer, (yield round_))

    def _settle(self, proposer: Proposer) -> Rounds:
        """Wait for trials that were running when their rounds were answered."""
        if self.history.has_running:
            self._learn(proposer, (yield Rest()))

    def _learn(self, proposer: Proposer, trials: tuple[Trial, ...] | None) -> None:
        assert trials is not None
        self.history.add(trials)
        proposer.tell(trials, max_epochs=self._plan.max_epochs)
