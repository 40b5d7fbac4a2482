"""Short trainings that are no trial: a given number of steps, by whatever learning rate the asker wants."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from lightning_modules.checkpointing import MemoryCheckpointIO
from lightning_modules.process import plain_interrupts, quiet_process
from lightning_modules.seeding import seed_generators
from lightning_modules.training import TrainingSettings, make_trainer

LrOfStep = Callable[[int, float], float]
"""The learning rate of a step (from 0), given the group's own peak."""


class Steps:
    """So many batches of a loader, over as many of its epochs as that takes; each in an order of its own.

    Args:
        loader: Batches; one with a `sampler.set_epoch` is told which epoch it is.
        num_steps: Batches to give.
    """

    def __init__(self, loader: Any, num_steps: int) -> None:
        self._loader = loader
        self._num_steps = num_steps

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[Any]:
        return islice(self._endless(), self._num_steps)

    def _endless(self) -> Iterator[Any]:
        for epoch in range(self._num_steps):  # a loader without batches ends it
            set_epoch = getattr(getattr(self._loader, "sampler", None), "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            yield from self._loader


class StepRecord(pl.Callback):
    """Keeps each step's loss, and sets the learning rate in place of the module's own schedule.

    Args:
        lr_of_step: Says the learning rate of each step.
        decays: Whether the optimizer keeps its weight decay.
        ends: Asked with the losses so far after each step; a loss that is not finite always ends it.

    Attributes:
        losses: Of each step.
        weights_without_gradient: Names of trainable matrices whose gradient was zero or missing at every step.
    """

    def __init__(
        self, lr_of_step: LrOfStep, *, decays: bool = True, ends: Callable[[list[float]], bool] = lambda _: False
    ) -> None:
        self._lr_of_step, self._decays, self._ends = lr_of_step, decays, ends
        self._peaks: list[list[float]] = []
        self.losses: list[float] = []
        self.weights_without_gradient: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the schedule out; what it made of the learning rate is undone."""
        trainer.strategy.lr_scheduler_configs = []
        for optimizer in trainer.optimizers:
            groups = optimizer.param_groups
            self._peaks.append([group.get("max_lr", group.get("initial_lr", group["lr"])) for group in groups])
            for group in groups:
                if not self._decays and "weight_decay" in group:
                    group["weight_decay"] = 0.0
        self.weights_without_gradient = [
            name for name, weight in pl_module.named_parameters() if weight.requires_grad and weight.ndim > 1
        ]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the step's learning rate."""
        for optimizer, peaks in zip(trainer.optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = self._lr_of_step(batch_idx, peak)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Cross off the weights that have a gradient."""
        if self.weights_without_gradient:
            weights = dict(pl_module.named_parameters())
            self.weights_without_gradient = [
                name for name in self.weights_without_gradient if not _has_gradient(weights[name])
            ]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss, and stop where there is no more to see."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            raise ValueError(
                f"training_step must give the loss of its batch, got {type(loss).__name__}: return it from there"
            )
        self.losses.append(float(loss))
        if not math.isfinite(self.losses[-1]) or self._ends(self.losses):
            trainer.should_stop = True


def _has_gradient(weight: Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.any())


def take_steps(
    module: pl.LightningModule, steps: Steps, record: StepRecord, *, settings: TrainingSettings, seed: int
) -> None:
    """Train a module on some batches, without validation; nothing is written to files or the console.

    Args:
        module: A new one.
        steps: The batches.
        record: Sets learning rates, keeps the losses.
        settings: Those of the module's trials.
        seed: Everything random in the steps follows from it.
    """
    cuda = settings.accelerator == "cuda"
    with quiet_process(num_threads=settings.num_threads, cuda=cuda), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You defined a `validation_step` but have no `val_dataloader`")
        if settings.precision == "64":
            module.double()
        once = replace(settings, max_epochs=1)
        trainer = make_trainer(once, MemoryCheckpointIO(), callbacks=[record], checkpointing=False)
        seed_generators(seed, cuda=cuda)
        with plain_interrupts():
            trainer.fit(module, train_dataloaders=steps)
