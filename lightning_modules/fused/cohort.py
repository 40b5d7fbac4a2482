"""Train a cohort from epoch a to epoch b as one network; each member's outcome is that of its training alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_modules.augmentation import make_augmentation
from lightning_modules.checkpointing import read_checkpoint
from lightning_modules.data import ArrayDataModule, TrainingData
from lightning_modules.families import split_settings
from lightning_modules.fused.array import Array
from lightning_modules.fused.batches import StackedBatches
from lightning_modules.fused.checkpoints import CheckpointWriter
from lightning_modules.fused.fusion import objection
from lightning_modules.fused.member import Member
from lightning_modules.fused.memory import kept_memory
from lightning_modules.process import quiet_process
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, check_epochs, make_record
from lightning_modules.transfer import Start

_MAX_DEVICE_BYTES = 2**30  # data up to this size lives on the GPU: no batch is transferred


@dataclass(frozen=True, kw_only=True)
class CohortMember:
    """A trial of a cohort.

    Attributes:
        settings: Its hyperparameters, flat; what is left out keeps the family's default.
        seed: Of the trial, not negative.
        checkpoint: Of the cohort's start epoch; None at epoch 0.
    """

    settings: Mapping[str, Any]
    seed: int
    checkpoint: bytes | None = None


def train_cohort(
    family: str,
    members: Sequence[CohortMember],
    data: TrainingData,
    *,
    settings: TrainingSettings,
    start_epoch: int,
    end_epoch: int,
    start: Start | None = None,
) -> list[TrainingOutcome]:
    """Train all members for the epochs start_epoch < e <= end_epoch, or each until its trial ends before.

    The counterpart of `lightning_modules.training.train` for members whose networks are alike: weights, optimizer,
    measurements, best epoch, patience and checkpoint of each are what `train` gives, up to the rounding of sums
    that are added up in another order. Either goes on from the other's checkpoints. A member's result does not
    depend on who else is in the cohort, up to the same rounding. What dropout drops is drawn from the member's own
    seed, too, but is not what training alone drops.

    Args:
        family: mlp, cnn or rnn.
        members: At least one; `can_fuse` must find nothing against them.
        data: What they train on.
        settings: The same for every piece of the trials, and for all members.
        start_epoch: Epochs trained so far.
        end_epoch: Epochs to train to.
        start: Weights that the trials start from.

    Returns:
        The outcomes in the order of the members; `train_s` is a member's share of the time.

    Raises:
        ConfigError: The members cannot be fused, or one contradicts itself or the data. Which one is to blame,
            training one by one finds out.
        ValueError: The epochs or a checkpoint do not fit, or the objective is not logged.
    """
    for member in members:
        check_epochs(settings, start_epoch, end_epoch, member.checkpoint)
    objection(family, [member.settings for member in members], data, start=start).check()
    began = time.perf_counter()
    with kept_memory(), quiet_process(num_threads=settings.num_threads, cuda=settings.accelerator == "cuda"):
        array, writer = _build(
            family,
            members,
            data,
            settings=settings,
            epochs=(start_epoch, end_epoch),
            start=start,
        )
        outcomes: dict[int, TrainingOutcome] = {}
        for epoch in range(start_epoch, end_epoch):
            ended = array.run_epoch(epoch)
            took, began = time.perf_counter() - began, time.perf_counter()
            for trained in array.members:
                trained.train_s += took / len(array.members)
            for index in ended:
                trained = array.members[index]
                outcomes[trained.position] = _outcome(trained, array.settle(index), writer)
            if len(ended) == len(array.members):
                break
            array.drop(ended)
    return [outcomes[position] for position in range(len(members))]


def _build(
    family: str,
    specs: Sequence[CohortMember],
    data: TrainingData,
    *,
    settings: TrainingSettings,
    epochs: tuple[int, int],
    start: Start | None,
) -> tuple[Array, CheckpointWriter]:
    cuda = settings.accelerator == "cuda"
    recipes = [split_settings(family, spec.settings)[1] for spec in specs]
    loader = ArrayDataModule(
        data,
        batch_size=recipes[0].batch_size,
        seed=specs[0].seed,
        device=settings.accelerator if _num_bytes(data) <= _MAX_DEVICE_BYTES else "cpu",
    )
    members = []
    for position, spec in enumerate(specs):
        with seeded(spec.seed, cuda=cuda):
            task = build_task(
                family,
                spec.settings,
                data.info,
                max_epochs=settings.max_epochs,
                steps_per_epoch=loader.steps_per_epoch,
                auroc=settings.metric == "val_auroc",
                start=start,
                words=data.preprocessing.get("words", ()),
            )
        if settings.precision == "64":
            task.double()
        record = make_record(settings, start_epoch=epochs[0], end_epoch=epochs[1])
        member = Member(task.to(settings.accelerator), record, position=position)
        if spec.checkpoint is not None:
            member.load(read_checkpoint(spec.checkpoint))
        members.append(member)
    array = Array(
        members,
        seeds=[spec.seed for spec in specs],
        batches=StackedBatches(
            loader,
            seeds=[spec.seed for spec in specs],
            augments=[
                make_augmentation(recipe, data, seed=spec.seed)
                for recipe, spec in zip(recipes, specs, strict=True)
            ],
        ),
        validation=loader.val_dataloader(),
        settings=settings,
    )
    writer = CheckpointWriter(
        settings,
        steps_per_epoch=loader.steps_per_epoch,
        validation_batches=len(loader.val_dataloader()),
    )
    return array, writer


def _num_bytes(data: TrainingData) -> int:
    splits = (data.train, data.validation)
    return sum(array.nbytes for split in splits for array in (*split.inputs.values(), split.target))


def _outcome(member: Member, weights: Mapping[str, Tensor], writer: CheckpointWriter) -> TrainingOutcome:
    return TrainingOutcome(
        state=member.record.state,
        measurements=tuple(member.record.measurements),
        checkpoint=writer.write(member, weights),
        best_epoch=member.record.best_epoch,
        train_s=member.train_s,
    )
