"""The array of members that train together; it shrinks when one of them ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data.module import BatchLoader
from lightning_modules.fused.batches import StackedBatch, StackedBatches, repeated
from lightning_modules.fused.health import StackedHealth
from lightning_modules.fused.losses import StackedLoss
from lightning_modules.fused.member import Member
from lightning_modules.fused.noise import Noise
from lightning_modules.fused.optimizers import STATE, StackedOptimizer
from lightning_modules.fused.parameters import FlatParameters
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacking import keep_members, stack
from lightning_modules.health import is_watched
from lightning_modules.training import TrainingSettings

_PREFIX = "network."  # of a task's state


class Array:
    """Members of one shape as one network, with what trains it.

    Args:
        members: At least one; loaded, on the device.
        seeds: Of their trials.
        batches: Their training batches.
        validation: Rows that all of them are measured on.
        settings: Of the training.

    Attributes:
        members: Those that still train.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        seeds: Sequence[int],
        batches: StackedBatches,
        validation: BatchLoader,
        settings: TrainingSettings,
    ) -> None:
        self.members = list(members)
        self._batches, self._validation, self._settings = batches, validation, settings
        self._device = torch.device(settings.accelerator)
        self._noise = Noise(seeds, hashed=self._device.type != "cpu")
        tasks = [member.task for member in members]
        self._network = stack([task.network for task in tasks], self._noise)
        self._loss = StackedLoss(tasks)
        self._parameters = FlatParameters(self._network, members[0].groups)
        groups = [member.optimizer.param_groups for member in members]
        self._optimizer_name = tasks[0].recipe.optimizer
        self._optimizer = StackedOptimizer(
            self._optimizer_name, self._parameters, groups, [task.recipe.clip_norm for task in tasks]
        )
        for index, member in enumerate(members):
            self._optimizer.steps[index] = member.start_steps
            for key in STATE[self._optimizer_name]:
                parts = [member.optimizer_state(name, key) for name in self._parameters.names]
                self._optimizer.state[key][index] = self._parameters.join(parts)
        self._health = (
            StackedHealth(self._network, tasks[0], self._parameters, self._noise) if settings.health else None
        )
        for task in tasks:
            task.cpu()  # from here on they wait for their checkpoint

    def run_epoch(self, epoch: int) -> list[int]:
        """Train and measure one epoch, which counts from 0; says which members do not go on, by index."""
        rates = [float(np.float32(member.optimizer.param_groups[0]["lr"])) for member in self.members]
        loss_sums, train_losses = self._train(epoch)
        validation = self._validate()
        ended = []
        for index, member in enumerate(self.members):
            metrics = {**validation[index], "lr": rates[index], "train_loss": train_losses[index]}
            if self._health is not None:
                metrics |= self._health.values(index)
            if "val_loss" in metrics:
                member.schedule.after_validation(metrics["val_loss"])
            goes_on = member.record.measure(
                epoch + 1, metrics, loss_sum=loss_sums[index], weights=partial(self._weights, index)
            )
            if not goes_on:
                ended.append(index)
        return ended

    def drop(self, ended: Sequence[int]) -> None:
        """Take members out of the array, by index; the others keep their places in turn."""
        if not ended:
            return
        kept = [index for index in range(len(self.members)) if index not in set(ended)]
        self.members = [self.members[index] for index in kept]
        keep_members(self._network, kept)
        for part in (self._parameters, self._optimizer, self._loss, self._noise, self._batches):
            part.keep(kept)

    def settle(self, index: int) -> dict[str, Tensor]:
        """Bring a member's own optimizer and schedule to where the array is, and give its task's state."""
        member = self.members[index]
        state = {
            key: {name: part.cpu() for name, part in self._parameters.split(value[index]).items()}
            for key, value in self._optimizer.state.items()
        }
        member.set_optimizer_state(self._optimizer_name, state, self._optimizer.steps[index].cpu())
        member.schedule.settle()
        return self._weights(index)

    def _train(self, epoch: int) -> tuple[list[float], list[float]]:
        """Give each member's sum of losses, and its mean over rows."""
        self._network.train()
        self._noise.start_epoch(epoch)
        sums = weighted = torch.zeros((), device=self._device)
        num_rows = 0
        watched = is_watched(epoch, self._batches.num_steps)
        if self._health is not None:
            self._health.start_epoch(len(self.members))
        for batch in self._batches.epoch(epoch):
            self._noise.steps = batch.steps
            losses = self._step(batch, watched=watched and num_rows == 0)
            rows = batch.target.shape[1]
            sums, weighted, num_rows = sums + losses, weighted + losses * rows, num_rows + rows
        for member in self.members:
            member.schedule.after_training_epoch()
        return sums.tolist(), (weighted / num_rows).tolist()

    def _step(self, batch: StackedBatch, *, watched: bool) -> Tensor:
        health = self._health if watched else None
        if health is not None:
            health.begin()
        with self._precision():
            logits = self._network(self._moved(batch.inputs))
            losses = self._loss(by_member(logits, len(self.members)), self._to_device(batch.target))
        self._parameters.set_gradients(losses)
        if health is not None:
            health.see_gradients()
            health.end()
        self._optimizer.clip()
        self._optimizer.step()
        for member in self.members:
            member.schedule.after_step()
        return losses.detach()

    @torch.inference_mode()
    def _validate(self) -> list[dict[str, float]]:
        """Measure every member on the same rows."""
        self._network.eval()
        self._noise.steps = None
        num_members, num_rows = len(self.members), 0
        weighted = torch.zeros((), device=self._device)
        for batch in repeated(self._validation, num_members):
            with self._precision():
                target = self._to_device(batch.target)
                logits = by_member(self._network(self._moved(batch.inputs)), num_members)
                weighted = weighted + self._loss(logits, target) * target.shape[1]
            num_rows += target.shape[1]
            for member, own, rows in zip(self.members, logits.cpu(), target.cpu(), strict=True):
                member.task.val_metrics.update(own, rows)
        if not num_rows:
            return [{} for _ in self.members]
        found = []
        for member, loss in zip(self.members, (weighted / num_rows).tolist(), strict=True):
            scores = member.task.val_metrics.compute()
            member.task.val_metrics.reset()
            named = {f"val_{name}": float(value) for name, value in scores.items() if value.ndim == 0}
            found.append({"val_loss": loss, **named})
        return found

    def _weights(self, index: int) -> dict[str, Tensor]:
        """Copy a member's state, by the names of its task, onto the CPU."""
        stacked = self._network.state_dict()
        own = self.members[index].task.state_dict()  # of the loss, beside the network
        for name in own:
            is_stacked = name.startswith(_PREFIX)
            tensor = stacked[name.removeprefix(_PREFIX)][index] if is_stacked else own[name]
            own[name] = tensor.detach().cpu().clone()
        return own

    def _precision(self) -> AbstractContextManager[object]:
        if self._settings.precision != "bf16":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _moved(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: _laid_out(self._to_device(x)) for name, x in inputs.items()}

    def _to_device(self, x: Tensor) -> Tensor:
        if self._settings.precision == "64" and x.is_floating_point():
            x = x.double()
        return x.to(self._device, non_blocking=True)


def _laid_out(x: Tensor) -> Tensor:
    """Lay images on the CPU channels last, which the layers behind keep.

    Convolutions, poolings and norms are faster so: two blocks of 32 and 64 channels on 28x28 pixels take 27 ms a
    step of 64 images in place of 46.
    """
    if x.ndim != 4 or x.device.type != "cpu":
        return x
    return torch.empty_like(x, memory_format=torch.channels_last).copy_(x)  # to() leaves a single channel as it is
