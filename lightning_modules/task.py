"""The LightningModule of the built-in families: network + loss + metrics + optimizer + schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from lightning_modules.data.base import DataInfo
from lightning_modules.families import split_settings
from lightning_modules.losses import make_loss, num_outputs
from lightning_modules.metrics import class_probabilities, make_metrics, make_report_metrics
from lightning_modules.optimizers import make_optimizer
from lightning_modules.recipe import Recipe
from lightning_modules.schedules import make_schedule
from lightning_modules.transfer import Start, Thaw, load_start

Inputs = Mapping[str, Tensor]
Batch = tuple[Inputs, Tensor]


class MeanLoss:
    """Mean loss over rows, added up where it was computed: reading it at each step would wait for a GPU."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_rows = 0

    def update(self, loss: Tensor, num_rows: int) -> None:
        """Add a batch's mean loss."""
        weighted = loss.detach() * num_rows
        self._sum = weighted if self._sum is None else self._sum + weighted
        self._num_rows += num_rows

    def pop(self) -> Tensor:
        """Give the mean over all rows since the last call, and start again."""
        assert self._sum is not None
        mean = self._sum / self._num_rows
        self._sum, self._num_rows = None, 0
        return mean


class SupervisedTask(pl.LightningModule):
    """Trains a network on `(inputs, target)` batches by a recipe.

    Logs once per epoch: train_loss, lr (of the epoch's first step), val_loss, and val_accuracy, val_macro_f1 and
    on request val_auroc for classification, or val_rmse, val_mae, val_r2 (in the target's unit) for regression; in
    a test the same with test_, and test_auroc always. A loss is the mean over rows; one with class weights the
    mean of its batches' by rows.

    Shapes:
        inputs: as `DataInfo` describes them -> logits (B, num_outputs), or standardized values (B, 1)

    Args:
        network: Takes the mapping of inputs and gives the logits.
        recipe: Optimizer, schedule, loss and clipping.
        info: The data's.
        max_epochs: Of the whole trial: the schedule spans it.
        steps_per_epoch: Training batches in an epoch.
        hyperparameters: JSON primitives that describe the network, for the checkpoint; the recipe's are added.
        auroc: Whether a validation of a classification costs the time of val_auroc.
        loaded: Names of the network's parameters that were trained before; see `lightning_modules.transfer`.

    Raises:
        ConfigError: The recipe's loss contradicts the data.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: Recipe,
        info: DataInfo,
        max_epochs: int,
        steps_per_epoch: int,
        hyperparameters: Mapping[str, Any] | None = None,
        auroc: bool = False,
        loaded: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                **(hyperparameters or {}),
                **recipe.to_dict(),
                "max_epochs": max_epochs,
                "steps_per_epoch": steps_per_epoch,
            }
        )
        self.network = network
        self.recipe = recipe
        self.info = info
        self.loss = make_loss(recipe, info)
        self.val_metrics = make_metrics(info, auroc=auroc)
        self.test_metrics = make_report_metrics(info)
        self.test_report: dict[str, Tensor] = {}  # of the last test: what has a value for each class
        self._loaded = loaded
        self._thaw = Thaw(network, loaded, freeze_epochs=recipe.freeze_epochs if loaded else 0)
        self._max_epochs, self._steps_per_epoch = max_epochs, steps_per_epoch
        self._train_loss, self._evaluation_loss = MeanLoss(), MeanLoss()

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the running hook about fifty times a step, and nn.Module tries each note as a parameter,
        # a module and a buffer: 5 % of a small network's training (measured on the digits).
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: Inputs) -> Tensor:
        """Give the network's logits, (B, num_outputs)."""
        logits: Tensor = self.network(inputs)
        return logits

    def start_epoch(self, epoch: int) -> None:
        """Thaw what is due, and start the epoch's mean anew, also after one that was cut off; counts from 0."""
        self._thaw.start_epoch(epoch)
        self._train_loss = MeanLoss()

    def end_epoch(self) -> Tensor:
        """Give the mean loss of the epoch's steps."""
        return self._train_loss.pop()

    def on_train_epoch_start(self) -> None:
        """Log the learning rate and start the epoch."""
        self.start_epoch(self.current_epoch)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the batch's loss, a scalar."""
        inputs, target = batch
        loss: Tensor = self.loss(self.network(inputs), target)
        self._train_loss.update(loss, len(target))
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch's steps."""
        self.log("train_loss", self.end_epoch())

    def on_validation_epoch_start(self) -> None:
        """Start anew, also after a validation that was cut off."""
        self._start_evaluation(self.val_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        self._evaluate(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics of the whole split."""
        self.log_dict(self.validation_values())

    def validation_values(self) -> dict[str, Tensor]:
        """Give the loss and the metrics of the validation split, once all its batches have been scored."""
        return {
            name: value for name, value in self._evaluation("val", self.val_metrics).items() if value.ndim == 0
        }

    def on_test_epoch_start(self) -> None:
        """Start anew, also after a test that was cut off."""
        self._start_evaluation(self.test_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        self._evaluate(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the loss and the metrics of the whole split."""
        values = self._evaluation("test", self.test_metrics)
        self.log_dict({name: value for name, value in values.items() if value.ndim == 0})
        self.test_report = {name: value for name, value in values.items() if value.ndim > 0}

    def predict_step(self, batch: Batch | Inputs, batch_idx: int = 0) -> Tensor:
        """Give probabilities, (B, num_classes), or values in the target's own unit, (B,).

        Args:
            batch: Inputs, with or without their target.
            batch_idx: Not used.
        """
        inputs = batch if isinstance(batch, Mapping) else batch[0]
        logits = self.network(inputs).float()
        if self.info.task == "classification":
            return class_probabilities(logits)
        values: Tensor = logits.squeeze(1) * self.info.target_std + self.info.target_mean
        return values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the recipe's optimizer and schedule."""
        optimizer = make_optimizer(self.network, self.recipe, loaded=self._loaded)
        schedule = make_schedule(
            optimizer, self.recipe, steps_per_epoch=self._steps_per_epoch, max_epochs=self._max_epochs
        )
        if schedule is None:
            return optimizer
        configured: Any = {"optimizer": optimizer, "lr_scheduler": schedule}
        return configured  # type: ignore[no-any-return]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the whole gradient by its norm if the recipe says so; else do what the Trainer was told."""
        if self.recipe.clip_norm > 0:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        elif gradient_clip_val:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _start_evaluation(self, metrics: MetricCollection) -> None:
        metrics.reset()
        self._evaluation_loss = MeanLoss()

    def _evaluate(self, batch: Batch, metrics: MetricCollection) -> None:
        inputs, target = batch
        logits = self.network(inputs)
        self._evaluation_loss.update(self.loss(logits, target), len(target))
        metrics.update(logits, target)

    def _evaluation(self, split: str, metrics: MetricCollection) -> dict[str, Tensor]:
        values = {"loss": self._evaluation_loss.pop(), **metrics.compute()}
        metrics.reset()
        return {f"{split}_{name}": value for name, value in values.items()}


def build_task(
    family: str,
    settings: Mapping[str, Any],
    info: DataInfo,
    *,
    max_epochs: int,
    steps_per_epoch: int,
    auroc: bool = False,
    start: Start | None = None,
    words: Sequence[str] = (),
) -> SupervisedTask:
    """Build a family's network with fresh weights, and the task that trains it.

    Weights are drawn from torch's global generator.

    Args:
        family: mlp, cnn or rnn.
        settings: Flat hyperparameters of the network and the recipe; what is left out keeps its default.
        info: Of the data.
        max_epochs: Of the whole trial.
        steps_per_epoch: Training batches in an epoch.
        auroc: Whether to log val_auroc too.
        start: Weights that the network starts from.
        words: The data's vocabulary, to find the rows of a starting embedding.

    Raises:
        ConfigError: A setting is unknown, breaks its rule, or contradicts another one or the data.
    """
    config, recipe = split_settings(family, settings)
    network = config.build(info, num_outputs=num_outputs(recipe, info))
    loaded = load_start(network, start, info, words=words) if start else frozenset()
    return SupervisedTask(
        network,
        recipe=recipe,
        info=info,
        max_epochs=max_epochs,
        steps_per_epoch=steps_per_epoch,
        hyperparameters={"family": family, **config.to_dict()},
        auroc=auroc,
        loaded=loaded,
    )
