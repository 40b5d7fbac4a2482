"""Train a trial of a family without a Trainer: what `train` gives, to the bit, for less time.

Much of a small network's step is the Trainer's own: hooks, progress, closures (the digits, two
layers of 128: 1.6 ms a step in place of 1.0). A family's task uses none of it, so its loop can be written out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from lightning_modules.checkpointing import read_checkpoint
from lightning_modules.data import ArrayDataModule
from lightning_modules.fused.checkpoints import CheckpointWriter
from lightning_modules.fused.member import Member
from lightning_modules.health_watch import HealthWatch
from lightning_modules.process import quiet_process
from lightning_modules.seeding import epoch_seed, seed_generators
from lightning_modules.task import SupervisedTask
from lightning_modules.training import NO_BATCHES, TrainingOutcome, TrainingSettings, check_epochs, make_record


def can_train_lean(
    module: pl.LightningModule, datamodule: pl.LightningDataModule, settings: TrainingSettings
) -> bool:
    """Say whether `train_lean` takes a trial: a family's own task on the CPU, in 32 bits."""
    return (
        type(module) is SupervisedTask
        and type(datamodule) is ArrayDataModule
        and settings.accelerator == "cpu"
        and settings.precision == "32"
    )


def train_lean(
    task: SupervisedTask,
    datamodule: ArrayDataModule,
    *,
    settings: TrainingSettings,
    seed: int,
    start_epoch: int,
    end_epoch: int,
    checkpoint: bytes | None,
) -> TrainingOutcome:
    """Train as `lightning_modules.training.train` does, to the same weights, measurements and checkpoint.

    Args:
        task: A new one at epoch 0; else of the same shape, its weights come from the checkpoint.
        datamodule: Gives the batches.
        settings: The same for every piece of a trial; `can_train_lean` must hold.
        seed: Of the trial, not negative.
        start_epoch: Epochs trained so far.
        end_epoch: Epochs to train to.
        checkpoint: Of `start_epoch`; None at epoch 0.

    Raises:
        ValueError: The epochs or the checkpoint do not fit, or the objective is not logged.
    """
    check_epochs(settings, start_epoch, end_epoch, checkpoint)
    if not can_train_lean(task, datamodule, settings):
        raise ValueError(
            "a family's task on the CPU in 32 bits is trained without a Trainer, got another: use train()"
        )
    began = time.perf_counter()
    with quiet_process(num_threads=settings.num_threads, cuda=False):
        record = make_record(settings, start_epoch=start_epoch, end_epoch=end_epoch)
        member = Member(task, record, position=0)
        if checkpoint is not None:
            member.load(read_checkpoint(checkpoint))
        loop = LeanLoop(member, datamodule, seed=seed, health=settings.health)
        for epoch in range(start_epoch, end_epoch):
            if not loop.run_epoch(epoch):
                break
        member.schedule.settle()
        writer = CheckpointWriter(
            settings, steps_per_epoch=len(loop.training), validation_batches=len(loop.validation)
        )
        content = writer.write(member, task.state_dict())
    return TrainingOutcome(
        state=record.state,
        measurements=tuple(record.measurements),
        checkpoint=content,
        best_epoch=record.best_epoch,
        train_s=time.perf_counter() - began,
    )


class LeanLoop:
    """Epochs of one trial.

    Args:
        member: With its task, optimizer, schedule and record.
        datamodule: Gives the batches.
        seed: Of the trial.
        health: Whether the first step of each epoch is watched.
    """

    def __init__(self, member: Member, datamodule: ArrayDataModule, *, seed: int, health: bool) -> None:
        self._member, self._seed = member, seed
        self._parameters = list(member.task.parameters())
        self._health = HealthWatch() if health else None
        self.training, self.validation = datamodule.train_dataloader(), datamodule.val_dataloader()
        if not len(self.training):
            raise ValueError(NO_BATCHES)

    def run_epoch(self, epoch: int) -> bool:
        """Train and measure one epoch, which counts from 0, and say whether the trial goes on."""
        member = self._member
        rate = float(np.float32(member.optimizer.param_groups[0]["lr"]))
        train_loss = self._train(epoch)
        member.schedule.after_training_epoch()
        metrics = {**self._validate(), "lr": rate, "train_loss": train_loss}
        if self._health is not None:
            metrics |= self._health.values()
        if "val_loss" in metrics:
            member.schedule.after_validation(metrics["val_loss"])
        return member.record.measure(epoch + 1, metrics, loss_sum=None, weights=self._weights)

    def _train(self, epoch: int) -> float:
        """Give the mean loss over rows."""
        member, task, optimizer = self._member, self._member.task, self._member.optimizer
        task.train()
        task.start_epoch(epoch)
        seed_generators(epoch_seed(self._seed, epoch), cuda=False)
        self.training.set_epoch(epoch)
        if self._health is not None:
            self._health.start_epoch(task, epoch, len(self.training))
        for number, batch in enumerate(self.training):
            loss = task.training_step(batch, number)
            for parameter in self._parameters:  # as zero_grad() does, which reports each call to a profiler
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            if self._health is not None and self._health.is_watching:
                self._health.see_gradients(optimizer)
                self._health.end()
            task.configure_gradient_clipping(optimizer)
            optimizer.step()
            member.schedule.after_step()
        return float(task.end_epoch())

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        if not len(self.validation):
            return {}
        task = self._member.task
        task.eval()
        task.on_validation_epoch_start()
        for number, batch in enumerate(self.validation):
            task.validation_step(batch, number)
        return {name: float(value) for name, value in task.validation_values().items()}

    def _weights(self) -> Mapping[str, Any]:
        return copy.deepcopy(self._member.task.state_dict())
