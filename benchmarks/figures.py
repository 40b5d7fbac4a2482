"""What one run of a stack cost, and how a run is put in a process of its own.

Every stack is measured in a fresh process that imports what it needs, starts its clock, tunes, stops its
clock and prints its figures as the last line of standard output. So no import, no cache, no Ray session and
no MLflow connection of one stack helps or hinders the next.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The cost and the result of one search."""

    wall_s: float  # worker starts included; the driver's imports and `ray.init` left out
    trials: int
    epochs: int  # trained, over all trials together
    best: float  # validation accuracy, best epoch of the best trial

    @property
    def seconds_per_trial_epoch(self) -> float:
        """Wall-clock seconds for each epoch of each trial."""
        return self.wall_s / self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Give the fields and the rate as JSON primitives."""
        return {**dataclasses.asdict(self), "seconds_per_trial_epoch": self.seconds_per_trial_epoch}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Figures:
        """Read what `to_dict` wrote."""
        return cls(**{field.name: body[field.name] for field in dataclasses.fields(cls)})


def print_figures(name: str, figures: Figures, *, as_json: bool) -> None:
    """Print a stack's figures as the last line of standard output."""
    if as_json:
        print(json.dumps(figures.to_dict()))
    else:
        print(
            f"{name}: {figures.trials} trials, {figures.epochs} epochs, {figures.wall_s:.1f} s "
            f"({figures.seconds_per_trial_epoch:.3f} s per trial-epoch), best {figures.best:.4f}"
        )


def _unwatched(pid: int) -> AbstractContextManager[object]:
    return nullcontext()


def last_json_line(
    command: Sequence[str], *, watch: Callable[[int], AbstractContextManager[object]] = _unwatched
) -> dict[str, Any]:
    """Run a command with its messages on our standard error, and read the last line of its output.

    Each worker computes on one thread, in every stack: two workers on two cores.

    Args:
        command: The program and its arguments.
        watch: Given the process's id, makes a context that lasts as long as the process.

    Raises:
        RuntimeError: The command failed, or its last line is not a JSON object.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as done,
        watch(done.pid),
    ):
        output, _ = done.communicate()
    lines = output.strip().splitlines()
    if done.returncode != 0 or not lines:
        sys.stderr.write(output)
        raise RuntimeError(f"a stack ends with exit code 0 and prints JSON, got {done.returncode}: {command}")
    try:
        body = json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise RuntimeError(f"the last line must be a JSON object, got {lines[-1]!r}") from error
    if not isinstance(body, dict):
        raise RuntimeError(f"the last line must be a JSON object, got {lines[-1]!r}")
    return body
