"""Starting points from earlier jobs: what won on other data is a better start than a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces import Choice, SearchSpace, Value

NUM_STARTS = 3  # starting points of a job beside the defaults: more cost more than they bring (docs/search.md)


def usable(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Value]:
    """Carry another job's winner over to a space: what it does not have or allow stays at its default."""
    return space.complete(
        {p.name: params[p.name] for p in space if p.name in params and p.contains(params[p.name])}
    )


def starting_points(
    space: SearchSpace, winners: Sequence[Mapping[str, Any]], *, count: int = NUM_STARTS
) -> tuple[dict[str, Value], ...]:
    """Choose a few starting points that stand for all winners.

    The first is the middle of all: the median of each scale, the most frequent of unordered choices. Each further
    one is the winner that is farthest from those chosen (farthest-first traversal).

    Args:
        space: Of the new job.
        winners: Params that won earlier jobs.
        count: At most this many.

    Returns:
        Full params, different from each other; none without winners.

    Source:
        Gonzalez 1985, "Clustering to minimize the maximum intercluster distance" (farthest-first);
        Feurer, Springenberg & Hutter 2015, AAAI (starting from what won before).
    """
    known = [usable(space, params) for params in winners]
    if not known:
        return ()
    chosen = [_middle(space, known)]
    points = np.array([_place(space, params) for params in known])
    distances = np.linalg.norm(points - _place(space, chosen[0]), axis=1)
    while len(chosen) < count and distances.max() > 0:
        farthest = int(np.argmax(distances))
        if known[farthest] not in chosen:
            chosen.append(known[farthest])
        distances = np.minimum(distances, np.linalg.norm(points - points[farthest], axis=1))
    return tuple(chosen)


def _middle(space: SearchSpace, known: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    middle: dict[str, Value] = {}
    for parameter in space:
        values = [params[parameter.name] for params in known]
        if isinstance(parameter, Choice) and not parameter.ordered:
            middle[parameter.name] = max(parameter.choices, key=values.count)
        else:
            middle[parameter.name] = sorted(values, key=parameter.to_unit)[(len(values) - 1) // 2]
    return space.complete(middle)


def _place(space: SearchSpace, params: Mapping[str, Value]) -> np.ndarray[Any, np.dtype[np.float64]]:
    columns: list[float] = []
    for parameter in space:
        value = params[parameter.name]
        if isinstance(parameter, Choice) and not parameter.ordered:
            columns += [0.5 if choice == value else 0.0 for choice in parameter.choices]
        else:
            columns.append(parameter.to_unit(value))
    return np.array(columns)
