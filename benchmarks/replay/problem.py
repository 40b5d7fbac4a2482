"""What a search sees of a problem that is replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace, Value

Params = Mapping[str, Value]
Floats = NDArray[np.float64]


class Problem(Protocol):
    """One task: a space, and for each configuration the objective after each epoch. Higher is better."""

    @property
    def name(self) -> str:
        """The task's name."""
        ...

    @property
    def space(self) -> SearchSpace:
        """What may vary; its defaults are what the field would start from, not tuned on these tasks."""
        ...

    @property
    def max_epochs(self) -> int:
        """Length of a full training."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the values follow from."""
        ...

    def curve(self, params: Params) -> Floats:
        """Look a training up.

        Returns:
            (max_epochs,), the objective after epoch 1, 2, ...; NaN where nothing sound is known.
        """
        ...

    def finals(self, configurations: Sequence[Params]) -> Floats:
        """Look the objective at full length up, for many configurations at once: (n,)."""
        ...


def draw(space: SearchSpace, generator: np.random.Generator) -> dict[str, Value]:
    """Draw a configuration, each parameter uniform on its own scale."""
    return {parameter.name: parameter.from_unit(float(generator.random())) for parameter in space}


def draw_near(
    space: SearchSpace, params: Params, scale: float, generator: np.random.Generator
) -> dict[str, Value]:
    """Step away from a configuration: about half of the parameters move, by a normal step on their scale.

    Args:
        space: The space.
        params: Where to start.
        scale: Standard deviation of a step, as a share of a parameter's range.
        generator: The randomness.
    """
    near: dict[str, Any] = dict(params)
    for parameter in space:
        if generator.random() < 0.5:
            unit = parameter.to_unit(near[parameter.name]) + scale * generator.standard_normal()
            near[parameter.name] = parameter.from_unit(float(np.clip(unit, 0.0, 1.0)))
    return near
