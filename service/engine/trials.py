"""What Tune is told about slots: the trainable, when to stop, and what to do about a lost worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from service.engine.slot import serve


def slot_trainable(desk: Any, *, name: str) -> Callable[[dict[str, Any]], None]:
    """Make the function that Tune runs as a trial.

    Tune registers trainables by name in the whole cluster, so the name is one that no other job has.
    """

    def run_slot(config: dict[str, Any]) -> None:
        serve(desk, config["slot"])

    run_slot.__name__ = run_slot.__qualname__ = name
    return run_slot


class Ending(tune.Stopper):
    """Stops all trials once the engine closes."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stop one trial for what it reports."""
        return False

    def stop_all(self) -> bool:
        """Say whether the engine closes."""
        return self._closing.is_set()

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune nothing to write down: an event belongs to its process."""
        return {}


class LossReporter(tune.Callback):
    """Tells the desk of each slot that lost its worker, before Tune starts the slot again.

    Waiting for the answer keeps the order: the desk hears of the loss before the new worker joins.
    """

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report the loss; a slot that ends again and again before its first leg is not started once more."""
        if not ray.get(self._desk.report_loss.remote(trial.config["slot"])):
            trial.max_failures = 0

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report the loss of a slot that Tune gives up."""
        ray.get(self._desk.report_loss.remote(trial.config["slot"]))


class Silence(TrialProgressCallback):
    """Says nothing. Tune adds a callback of this type that prints, unless it is given one."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Say nothing of a report."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say nothing of a lost slot: the engine does."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say nothing of a slot that ends."""
