"""Checkpoints of members, written by Lightning's own Trainer: what comes out is what training alone writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import Tensor

from lightning_modules.checkpointing import MEMORY, MemoryCheckpointIO
from lightning_modules.fused.member import Member
from lightning_modules.training import TrainingSettings, make_trainer


class CheckpointWriter:
    """Writes members' checkpoints; a member trains on either way from them.

    Args:
        settings: Of the training.
        steps_per_epoch: Training batches in an epoch.
        validation_batches: Validation batches in an epoch.
    """

    def __init__(self, settings: TrainingSettings, *, steps_per_epoch: int, validation_batches: int) -> None:
        # Written on the CPU whatever trained: it is read there.
        self._trainer, self._memory = _trainer(replace(settings, accelerator="cpu"))
        self._steps_per_epoch, self._validation_batches = steps_per_epoch, validation_batches

    def write(self, member: Member, weights: Mapping[str, Tensor]) -> bytes:
        """Write a member whose optimizer and schedule are up to date.

        Args:
            member: At the end of an epoch.
            weights: State of its task.
        """
        member.task.load_state_dict(weights)
        trainer = self._trainer
        trainer.strategy.connect(member.task)
        trainer.strategy.optimizers = [member.optimizer]
        scheduler, interval = member.schedule.scheduler, member.schedule.interval
        trainer.strategy.lr_scheduler_configs = (
            [LRSchedulerConfig(scheduler=scheduler, interval=interval)] if scheduler and interval else []
        )
        trainer.callbacks = [member.record]  # type: ignore[attr-defined]
        self._set_progress(member)
        trainer.save_checkpoint(MEMORY, weights_only=False)
        content, self._memory.content = self._memory.content, None
        assert isinstance(content, bytes)
        return content

    def _set_progress(self, member: Member) -> None:
        """Count as Lightning does in a fit of so many epochs."""
        epochs, per_epoch = member.record.epoch, self._steps_per_epoch
        steps = epochs * per_epoch
        fit = self._trainer.fit_loop
        loop = fit.epoch_loop
        _count(fit.epoch_progress, total=epochs, current=epochs)
        loop._batches_that_stepped = steps
        _count(loop.batch_progress, total=steps, current=per_epoch)
        loop.batch_progress.is_last_batch = True
        optimizer = loop.automatic_optimization.optim_progress.optimizer
        _count(optimizer.step, total=steps, current=per_epoch)
        _count(optimizer.zero_grad, total=steps, current=per_epoch)
        match member.schedule.interval:
            case "step":
                _count(loop.scheduler_progress, total=steps, current=per_epoch)
            case "epoch":
                _count(loop.scheduler_progress, total=epochs, current=1)
            case _:
                _count(loop.scheduler_progress, total=0, current=0)
        _count(loop.val_loop.batch_progress, total=self._validation_batches, current=self._validation_batches)
        loop.val_loop.batch_progress.is_last_batch = self._validation_batches > 0


@lru_cache(maxsize=1)
def _trainer(settings: TrainingSettings) -> tuple[pl.Trainer, MemoryCheckpointIO]:
    """Make a Trainer once a job: Lightning looks for plugins among all installed packages, for 12 ms."""
    memory = MemoryCheckpointIO()
    return make_trainer(settings, memory, callbacks=[], checkpointing=False), memory


def _count(progress: Any, *, total: int, current: int) -> None:
    for tracker, count in ((progress.total, total), (progress.current, current)):
        for spec in fields(tracker):
            setattr(tracker, spec.name, count)
