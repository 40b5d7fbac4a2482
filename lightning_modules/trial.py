"""What a trial is on its way through epochs: its measurements, its best epoch, its end. Lightning callbacks."""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.checkpointing import TRIAL_KEY
from lightning_modules.health_watch import HealthWatch
from lightning_modules.seeding import epoch_seed, seed_generators

Mode = Literal["min", "max"]
TrialState = Literal["running", "completed", "diverged"]


class EpochSeed(Callback):
    """Makes everything random in an epoch follow from (seed, epoch), and not from where the process stands.

    Args:
        seed: Of the trial.
        cuda: Whether the trial trains on a CUDA device.
    """

    def __init__(self, seed: int, *, cuda: bool) -> None:
        self._seed = seed
        self._cuda = cuda

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Seed the module's own setup, which may make layers; the data module's setup lies before this."""
        seed_generators(self._seed, cuda=self._cuda)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the epoch."""
        seed_generators(epoch_seed(self._seed, trainer.current_epoch), cuda=self._cuda)
        # A resumed fit uses the loader's iterator that it made before this hook, any other epoch but the first
        # makes one after it. A DataLoader draws a number when it makes one, so this asks for a new one here too.
        trainer.fit_loop._resuming_from_checkpoint = False


class TrialRecord(Checkpoint):
    """Measures each epoch, keeps the best epoch's weights, and stops the fit.

    It is a `Checkpoint` to Lightning, which calls these last: what a module logs at the end of its epoch is seen.

    Args:
        metric: The objective, as the module logs it.
        mode: Whether it is better lower or higher.
        start_epoch: Epochs trained before this fit.
        end_epoch: Epochs that the fit goes to.
        max_epochs: Epochs of the whole trial.
        patience: Epochs without improvement that end the trial; None for no end.
        min_delta: What counts as an improvement for patience is more than this.
        health: Watches the first step of epochs; None for no measures of health.

    Attributes:
        epoch: Epochs trained, in earlier fits as well.
        measurements: (epoch, every logged value) of this fit's epochs.
        best_epoch: The first epoch with the best value so far; None before there is a finite one.
        best_value: The objective there.
        state: See `lightning_modules.training.TrainingOutcome`.
    """

    def __init__(
        self,
        *,
        metric: str,
        mode: Mode,
        start_epoch: int,
        end_epoch: int,
        max_epochs: int,
        patience: int | None,
        min_delta: float,
        health: HealthWatch | None = None,
    ) -> None:
        self._metric = metric
        self._sign = 1.0 if mode == "max" else -1.0
        self._start_epoch, self._end_epoch, self._max_epochs = start_epoch, end_epoch, max_epochs
        self._patience, self._min_delta = patience, min_delta
        self.state: TrialState = "running"
        self.epoch = 0
        self.measurements: list[tuple[int, dict[str, float]]] = []
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self._best_weights: Mapping[str, Any] | None = None
        self._reference: float | None = None  # the last value that was an improvement for patience
        self._epochs_without_improvement = 0
        self._loss_sum: Tensor | None = None
        self._num_losses = 0
        self._health = health

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last epoch: a value that is not logged again would be measured as if it were."""
        trainer.callback_metrics.clear()
        self._loss_sum, self._num_losses = None, 0
        if self._health is not None:
            self._health.start_epoch(pl_module, trainer.current_epoch, trainer.num_training_batches)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Show the gradients, which are not clipped yet, to whoever watches this step."""
        if self._health is not None and self._health.is_watching:
            self._health.see_gradients(optimizer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss up where it was computed: asking for its value would wait for a GPU."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            loss = loss.detach()
            self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
            self._num_losses += 1
        if self._health is not None and self._health.is_watching:
            self._health.end()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the epoch and decide whether the fit goes on."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        loss_sum = None if self._loss_sum is None else float(self._loss_sum)
        if loss_sum is not None:
            metrics.setdefault("train_loss", loss_sum / self._num_losses)
        if self._health is not None:
            metrics |= self._health.values()
        goes_on = self.measure(
            trainer.current_epoch + 1,
            metrics,
            loss_sum=loss_sum,
            weights=lambda: copy.deepcopy(pl_module.state_dict()),
        )
        if not goes_on:
            trainer.should_stop = True

    def measure(
        self,
        epoch: int,
        metrics: dict[str, float],
        *,
        loss_sum: float | None,
        weights: Callable[[], Mapping[str, Any]],
    ) -> bool:
        """Record an epoch and say whether the fit goes on.

        Args:
            epoch: Epochs trained, this one included.
            metrics: Every logged value, and the measures of health.
            loss_sum: Of the losses that were stepped on; None where there were none.
            weights: Gives a copy of the module's state; asked for if the epoch is the best.

        Raises:
            ValueError: The objective is not among the metrics.
        """
        self.epoch = epoch
        self.measurements.append((epoch, metrics))
        if self._metric not in metrics:
            raise ValueError(_missing_metric(self._metric, metrics))
        if self._is_finite(metrics, loss_sum):
            self._compare(metrics[self._metric], weights)
            out_of_patience = self._patience is not None and self._epochs_without_improvement >= self._patience
            if out_of_patience or self.epoch >= self._max_epochs:
                self.state = "completed"
        else:
            self.state = "diverged"
        return self.state == "running" and self.epoch < self._end_epoch

    def _is_finite(self, metrics: Mapping[str, float], loss_sum: float | None) -> bool:
        values = [metrics[self._metric], metrics.get("train_loss", 0.0), metrics.get("val_loss", 0.0)]
        if loss_sum is not None:  # a module may log another train_loss than it steps on, or skip rows
            values.append(loss_sum)
        return all(math.isfinite(value) for value in values)

    def _compare(self, value: float, weights: Callable[[], Mapping[str, Any]]) -> None:
        if self.best_value is None or self._sign * (value - self.best_value) > 0:
            self.best_value, self.best_epoch = value, self.epoch
            self._best_weights = weights()
        if self._reference is None or self._sign * (value - self._reference) > self._min_delta:
            self._reference, self._epochs_without_improvement = value, 0
        else:
            self._epochs_without_improvement += 1

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the record into the checkpoint; where the last epoch is the best, its weights are stored once."""
        weights = self._best_weights
        if weights is not None:
            is_last = self.best_epoch == self.epoch
            weights = checkpoint["state_dict"] if is_last else _on_cpu(weights)
        checkpoint[TRIAL_KEY] = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_weights": weights,
            "reference": self._reference,
            "epochs_without_improvement": self._epochs_without_improvement,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the record up again."""
        self.load(checkpoint)

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Take up the record that a checkpoint holds.

        Raises:
            ValueError: The checkpoint is of another epoch.
        """
        record = checkpoint[TRIAL_KEY]
        self.epoch = record["epoch"]
        if self.epoch != self._start_epoch:
            raise ValueError(
                f"a checkpoint goes on from its own epoch, got one of epoch {self.epoch} for start_epoch "
                f"{self._start_epoch}: give the checkpoint of that epoch"
            )
        self.best_epoch, self.best_value = record["best_epoch"], record["best_value"]
        self._best_weights = record["best_weights"]
        self._reference = record["reference"]
        self._epochs_without_improvement = record["epochs_without_improvement"]


def _on_cpu(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in weights.items()}


def _missing_metric(metric: str, logged: Iterable[str]) -> str:
    names = sorted(logged)
    near = difflib.get_close_matches(metric, names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "log it in validation_step, or choose one of those"
    return f"the objective must be logged in every epoch, got {metric!r}, logged are {', '.join(names)}: {remedy}"
