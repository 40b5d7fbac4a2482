"""Spreads of candidates over one parameter and its companion, before any model is worth trusting."""

from __future__ import annotations

import math

import numpy as np

from search_spaces import Choice, Float, Parameter, SearchSpace, Value, scaled_learning_rate
from service.search.rounds import Params

LR_SPREAD = 3.0  # a companion learning rate lies within this factor of its centre


def spread_values(
    parameter: Parameter, count: int, *, generator: np.random.Generator, taken: Value | None
) -> list[Value]:
    """Spread values over a parameter: one from each of `count` equal parts of its scale.

    Args:
        parameter: What is spread over.
        count: How many values.
        generator: Moves each value inside its part.
        taken: The incumbent's value: other choices come first, and it comes again (with another companion)
            only when they do not fill the round.
    """
    if isinstance(parameter, Choice):
        others = [choice for choice in parameter.choices if choice != taken]
        if parameter.ordered and taken is not None:
            here = parameter.choices.index(taken)
            others.sort(key=lambda choice: abs(parameter.choices.index(choice) - here))
        cycle = [*others, taken] if taken is not None else others
        return [cycle[i % len(cycle)] for i in range(count)]
    units = (np.arange(count) + generator.uniform(0.1, 0.9, size=count)) / count
    return [parameter.from_unit(float(unit)) for unit in units]


def stage_designs(
    space: SearchSpace,
    opens: tuple[str, ...],
    count: int,
    *,
    base: Params,
    generator: np.random.Generator,
    fixed: Params | None = None,
) -> list[dict[str, Value]]:
    """Design a stage's first round around the incumbent.

    The first open parameter is spread over its whole range; its companion, the learning rate, lies around
    where scaling rules put it, spread evenly over a factor of `LR_SPREAD` to both sides.

    Args:
        space: What may vary.
        opens: What is open, the companion last.
        count: How many designs.
        base: The incumbent's params.
        generator: Moves values inside their parts, and deals learning rates to them.
        fixed: What the scaling rules have to know beside the params: an optimizer that no trial changes.

    Returns:
        `count` full params.
    """
    name = opens[0]
    values = spread_values(space[name], count, generator=generator, taken=base[name])
    companion = space[opens[1]] if len(opens) > 1 else None
    steps = generator.permutation(count)
    designs = []
    for value, step in zip(values, steps, strict=True):
        params = dict(base) | {name: value}
        if isinstance(companion, Float):
            before, after = {**(fixed or {}), **base}, {**(fixed or {}), **params}
            centre = scaled_learning_rate(float(base[companion.name]), before=before, after=after)
            offset = 2 * (step + 0.5) / count - 1
            lr = centre * math.exp(math.log(LR_SPREAD) * offset)
            params[companion.name] = min(max(lr, companion.low), companion.high)
        designs.append(params)
    return designs
