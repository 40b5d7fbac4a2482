"""Which trials of a rung are trained together: those whose networks have one shape, where that pays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_modules.data import TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.fused import choose, fusion_key
from service.engine.train import LegContext

Shape = Callable[[Mapping[str, Any]], Hashable]  # params -> what a cohort's members have in common; None: alone


def alone(params: Mapping[str, Any]) -> None:
    """Give no shape: every trial is trained by itself."""


def form_cohorts(
    numbers: Iterable[int], params: Callable[[int], Mapping[str, Any]], *, shape: Shape, size: int
) -> list[tuple[int, ...]]:
    """Put trials into cohorts, which follow from the trials alone and never from the slots.

    Trials of one shape are shared out evenly among as few cohorts as hold them, in their order; who has no shape
    to share is alone. Cohorts come in the order of their first trials.

    Args:
        numbers: Of the trials.
        params: Of a trial, by its number.
        shape: Says what members have in common.
        size: Of a cohort, at most.
    """
    groups: dict[Hashable, list[int]] = {}
    for number in numbers:
        common = shape(params(number)) if size > 1 else None
        groups.setdefault(("alone", number) if common is None else ("shape", common), []).append(number)
    cohorts = []
    for group in groups.values():
        num_cohorts = -(-len(group) // size)
        edges = [len(group) * index // num_cohorts for index in range(num_cohorts + 1)]
        cohorts += [tuple(group[low:high]) for low, high in itertools.pairwise(edges)]
    return cohorts


@dataclass
class FusedShapes:
    """Gives the shape of a family's trials, where members of that shape are trained faster together.

    Args:
        context: Of the job.
    """

    context: LegContext
    _chosen: dict[Hashable, bool] = field(default_factory=dict, init=False)

    def __call__(self, params: Mapping[str, Any]) -> Hashable:
        """Give what members have in common; None where a trial had better be alone."""
        family, data = self.context.family, self.context.data
        if not isinstance(family, str) or not isinstance(data, TrainingData):
            return None
        values = {**self.context.fixed, **params}
        try:
            key = fusion_key(family, values)
            if key not in self._chosen:
                choice = choose(
                    family, [values] * 2, data, settings=self.context.training, start=self.context.start
                )
                self._chosen[key] = choice.fused
        except ConfigError:  # the slot finds out which and says so
            return None
        return key if self._chosen[key] else None
