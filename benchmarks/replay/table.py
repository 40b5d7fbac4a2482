"""A table of final values as a problem: every point of a grid was trained, no curves were kept.

Format (`numpy.savez`), for P hyperparameters:

    names       (P,) text: the hyperparameters, highest priority first if anything is known about it
    axis_NAME   (n_i,) for each name: its values on the grid. Numbers ascend and are ordered; text is not
    objective   (n_1, ..., n_P) float: the final value of each point; NaN for a training that failed
    maximize    () bool, optional: whether higher is better; default false (an error or a loss)
    default_NAME  () optional: where a practitioner starts; default the middle of the axis

There is one fidelity: a training costs one unit, which the search sees as its only epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.problem import Floats, Params
from search_spaces import Choice, SearchSpace


class TableProblem:
    """A grid of final values.

    Args:
        path: The .npz file; its stem is the problem's name.

    Raises:
        ValueError: The file does not have the format above.
    """

    max_epochs = 1

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        self.name = path.stem
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        self._axes = _read_axes(path, content)
        objective = np.asarray(content["objective"], np.float64)
        shape = tuple(len(axis) for axis in self._axes.values())
        if objective.shape != shape:
            raise ValueError(f"{path}: objective has one axis per name, {shape}, got {objective.shape}")
        if not np.isfinite(objective).any():
            raise ValueError(f"{path}: at least one value of objective must be finite, got none")
        self._values = objective if bool(content.get("maximize", False)) else -objective
        self.space = SearchSpace(
            name=self.name,
            parameters=tuple(
                _make_choice(name, axis, content.get(f"default_{name}")) for name, axis in self._axes.items()
            ),
        )

    def curve(self, params: Params) -> Floats:
        """Give the only value: (1,)."""
        return self.finals([params])

    def finals(self, configurations: Sequence[Params]) -> Floats:
        """Give the value of each configuration, negated where lower is better."""
        return np.array(
            [
                self._values[tuple(axis.index(params[name]) for name, axis in self._axes.items())]
                for params in configurations
            ]
        )

    @property
    def values(self) -> Floats:
        """Every finite value of the grid, (n,), higher is better."""
        return self._values[np.isfinite(self._values)]


def _read_axes(path: Path, content: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
    for key in ("names", "objective"):
        if key not in content:
            raise ValueError(f"{path}: a table holds names and objective, got {', '.join(sorted(content))}")
    axes: dict[str, list[Any]] = {}
    for name in content["names"].tolist():
        if f"axis_{name}" not in content:
            raise ValueError(f"{path}: each name has its axis, axis_{name} is missing")
        axis = content[f"axis_{name}"].tolist()
        if len(axis) < 2 or len(set(axis)) < len(axis):
            raise ValueError(f"{path}: an axis has at least 2 values, all different, got {name}: {axis}")
        if not isinstance(axis[0], str) and axis != sorted(axis):
            raise ValueError(f"{path}: numbers on an axis ascend, got {name}: {axis}")
        axes[str(name)] = axis
    return axes


def _make_choice(name: str, axis: list[Any], default: NDArray[Any] | None) -> Choice:
    return Choice(
        name=name,
        choices=tuple(axis),
        ordered=not isinstance(axis[0], str | bool),
        default=axis[len(axis) // 2] if default is None else default.item(),
        why="the points that were measured",
    )
