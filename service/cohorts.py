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


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the members of a cohort have in common.

    Attributes:
        key: Equal for trials of one shape.
        fewest: Of them that are trained faster together than alone.
    """

    key: Hashable
    fewest: int = 2


ShapeOf = Callable[[Mapping[str, Any]], Shape | None]  # of params; None: a trial is trained by itself


def alone(params: Mapping[str, Any]) -> None:
    """Give no shape: every trial is trained by itself."""


def form_cohorts(
    numbers: Iterable[int], params: Callable[[int], Mapping[str, Any]], *, shape: ShapeOf, size: int
) -> list[tuple[int, ...]]:
    """Put trials into cohorts, which follow from the trials alone and never from the slots.

    Trials of one shape are shared out evenly among as few cohorts as hold them, in their order; who has no shape
    to share is alone, and so is everybody of a cohort that would be too small to pay. Cohorts come in the order of
    their first trials.

    Args:
        numbers: Of the trials.
        params: Of a trial, by its number.
        shape: Says what members have in common.
        size: Of a cohort, at most.
    """
    groups: dict[int | Shape, list[int]] = {}
    for number in numbers:
        common = shape(params(number)) if size > 1 else None
        groups.setdefault(number if common is None else common, []).append(number)
    cohorts: list[tuple[int, ...]] = []
    for key, group in groups.items():
        fewest = key.fewest if isinstance(key, Shape) else 1
        num_cohorts = -(-len(group) // size)
        edges = [len(group) * index // num_cohorts for index in range(num_cohorts + 1)]
        for low, high in itertools.pairwise(edges):
            cohort = tuple(group[low:high])
            cohorts += [cohort] if len(cohort) >= fewest else [(number,) for number in cohort]
    return cohorts


@dataclass
class FusedShapes:
    """Gives the shape of a family's trials, where members of that shape are trained faster together.

    Args:
        context: Of the job.
    """

    context: LegContext
    _shapes: dict[Hashable, Shape | None] = field(default_factory=dict, init=False)

    def __call__(self, params: Mapping[str, Any]) -> Shape | None:
        """Give what members have in common; None where a trial had better be alone."""
        family, data = self.context.family, self.context.data
        if not isinstance(family, str) or not isinstance(data, TrainingData):
            return None
        values = {**self.context.fixed, **params}
        try:
            key = fusion_key(family, values)
            if key not in self._shapes:
                fewest = choose(
                    family, [values] * 2, data, settings=self.context.training, start=self.context.start
                ).fewest
                self._shapes[key] = Shape(key=key, fewest=fewest) if fewest else None
        except ConfigError:  # the slot finds out which and says so
            return None
        return self._shapes[key]
