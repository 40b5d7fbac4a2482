"""Train one trial from epoch a to epoch b with Lightning's Trainer, reproducibly.

    0 ---- train ----> 6        gives, bit for bit, what        0 -- train --> 2 -- train --> 6        gives.

Everything random in an epoch follows from (seed, epoch); the rest of the state travels in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

from lightning_modules.checkpointing import MEMORY, MemoryCheckpointIO, best_checkpoint
from lightning_modules.health_watch import HealthWatch
from lightning_modules.process import plain_interrupts, quiet_process
from lightning_modules.trial import EpochSeed, Mode, TrialRecord, TrialState

NO_BATCHES = "an epoch has at least one training batch, got none: give more rows or a smaller batch_size"

Accelerator = Literal["cpu", "cuda"]
Precision = Literal["32", "bf16", "64"]

_PRECISIONS: Mapping[Precision, Literal["32-true", "bf16-mixed", "64-true"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "64": "64-true",
}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What decides over a trial's training, beside its module and its data.

    Attributes:
        metric: The objective, by the name under which the module logs it.
        mode: Whether it is better lower or higher.
        max_epochs: Length of the whole trial; schedules span it, however it is cut.
        patience: Epochs without improvement that end the trial; None for no end.
        min_delta: An improvement for patience is more than this, in the metric's unit.
        num_threads: torch's threads; sums depend on their number in the last digit.
        accelerator: The device.
        precision: 32 and 64 are floats of that many bits; bf16 is mixed with 32.
        health: Whether the first step of epochs is watched, see `lightning_modules.health`; changes no weight.
    """

    metric: str
    mode: Mode
    max_epochs: int
    patience: int | None = None
    min_delta: float = 0.0
    num_threads: int = 1
    accelerator: Accelerator = "cpu"
    precision: Precision = "32"
    health: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode is min or max, got {self.mode!r}: choose one")
        if self.accelerator not in ("cpu", "cuda"):
            raise ValueError(f"accelerator is cpu or cuda, got {self.accelerator!r}: choose one")
        if self.precision not in _PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(_PRECISIONS)}, got {self.precision!r}: choose one")
        if self.max_epochs < 1 or self.num_threads < 1 or (self.patience is not None and self.patience < 1):
            raise ValueError(
                "max_epochs, num_threads and patience are at least 1, got "
                f"{self.max_epochs}, {self.num_threads}, {self.patience}: raise them (patience may be None)"
            )
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta is at least 0, got {self.min_delta}: it is a size, whatever the mode")


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a piece of training gave.

    Attributes:
        state: running (reached end_epoch, may go on), completed (out of patience, or at max_epochs), diverged (a
            loss or the objective was not finite in the last measured epoch).
        measurements: Epoch (from 1) and every value that the module logged, for each epoch of this piece.
        checkpoint: State after the last measured epoch, see `lightning_modules.checkpointing.best_state`.
        best_epoch: Of the whole trial so far, the first with the best value; None before a finite one.
        train_s: Wall-clock time.
    """

    state: TrialState
    measurements: tuple[tuple[int, dict[str, float]], ...]
    checkpoint: bytes
    best_epoch: int | None
    train_s: float


def train(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    *,
    settings: TrainingSettings,
    seed: int,
    start_epoch: int,
    end_epoch: int,
    checkpoint: bytes | None,
) -> TrainingOutcome:
    """Train a module for the epochs start_epoch < e <= end_epoch, or until its trial ends before.

    The caller's global generators, torch's number of threads and its deterministic flags are as before afterwards;
    nothing is written to files or the console.

    Args:
        module: A new one at epoch 0 (its weights follow from whoever made it); else of the same shape as the one
            that was trained before, its weights come from the checkpoint.
        datamodule: Gives training batches and, as a rule, validation batches.
        settings: The same for every piece of a trial.
        seed: Of the trial, not negative; randomness in epoch e follows from (seed, e).
        start_epoch: Epochs trained so far.
        end_epoch: Epochs to train to.
        checkpoint: Of `start_epoch`; None at epoch 0.

    Raises:
        ValueError: The epochs or the checkpoint do not fit, or the module does not log the objective.
    """
    check_epochs(settings, start_epoch, end_epoch, checkpoint)
    started = time.perf_counter()
    cuda = settings.accelerator == "cuda"
    memory = MemoryCheckpointIO(checkpoint)
    record = make_record(settings, start_epoch=start_epoch, end_epoch=end_epoch, health=settings.health)
    with quiet_process(num_threads=settings.num_threads, cuda=cuda):
        if settings.precision == "64":
            module.double()  # Lightning does so after it has loaded a checkpoint: into 32 bits
        callbacks = [EpochSeed(seed, cuda=cuda), record]
        trainer = make_trainer(settings, memory, callbacks=callbacks, checkpointing=True)
        with plain_interrupts():
            trainer.fit(module, datamodule=datamodule, ckpt_path=MEMORY if checkpoint else None, weights_only=True)
        trainer.save_checkpoint(MEMORY)
    assert isinstance(memory.content, bytes)
    if not record.measurements:
        raise ValueError(NO_BATCHES)
    stopped_itself = record.state == "running" and record.epoch < end_epoch  # a callback of the module's own
    return TrainingOutcome(
        state="completed" if stopped_itself else record.state,
        measurements=tuple(record.measurements),
        checkpoint=memory.content,
        best_epoch=record.best_epoch,
        train_s=time.perf_counter() - started,
    )


def evaluate_best(
    module: pl.LightningModule, data: Any, *, settings: TrainingSettings, checkpoint: bytes
) -> dict[str, float]:
    """Run `test_step` over a test split with the best epoch's weights.

    Args:
        module: Of the shape that was trained; gets the weights.
        data: A LightningDataModule with `test_dataloader`, or a loader.
        settings: Those that the module was trained with.
        checkpoint: Of that training.

    Returns:
        What the module logs.

    Raises:
        ValueError: The checkpoint holds no best epoch.
    """
    is_datamodule = isinstance(data, pl.LightningDataModule)
    with quiet_process(num_threads=settings.num_threads, cuda=settings.accelerator == "cuda"):
        if settings.precision == "64":
            module.double()
        memory = MemoryCheckpointIO(best_checkpoint(checkpoint))
        trainer = make_trainer(settings, memory, callbacks=[], checkpointing=False)
        with plain_interrupts():
            trainer.test(
                module,
                dataloaders=None if is_datamodule else data,
                datamodule=data if is_datamodule else None,
                ckpt_path=MEMORY,
                verbose=False,
                weights_only=True,
            )
        return {name: float(value) for name, value in trainer.callback_metrics.items()}


def check_epochs(settings: TrainingSettings, start: int, end: int, checkpoint: bytes | None) -> None:
    """Check that a piece of training fits into its trial, and its checkpoint to its start.

    Raises:
        ValueError: They do not.
    """
    if not 0 <= start < end <= settings.max_epochs:
        raise ValueError(
            f"0 <= start_epoch < end_epoch <= max_epochs must hold, got {start}, {end}, {settings.max_epochs}: "
            "train to a later epoch, or make the trial longer"
        )
    if (checkpoint is None) != (start == 0):
        raise ValueError(
            f"training starts from nothing at epoch 0 and from a checkpoint at any later one, got {start=} "
            f"{'without' if checkpoint is None else 'with'} a checkpoint: give both or none"
        )


def make_record(
    settings: TrainingSettings, *, start_epoch: int, end_epoch: int, health: bool = False
) -> TrialRecord:
    """Make the record of a piece of a trial.

    Args:
        settings: Of the trial.
        start_epoch: Epochs trained so far.
        end_epoch: Epochs to train to.
        health: Whether it watches the network as a callback of a Trainer.
    """
    return TrialRecord(
        metric=settings.metric,
        mode=settings.mode,
        start_epoch=start_epoch,
        end_epoch=end_epoch,
        max_epochs=settings.max_epochs,
        patience=settings.patience,
        min_delta=settings.min_delta,
        health=HealthWatch() if health else None,
    )


def make_trainer(
    settings: TrainingSettings, memory: MemoryCheckpointIO, *, callbacks: list[pl.Callback], checkpointing: bool
) -> pl.Trainer:
    """Make a Trainer that leaves no trace: no files, no logger, nothing on the console."""
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=1,
        precision=_PRECISIONS[settings.precision],
        max_epochs=settings.max_epochs,
        callbacks=callbacks,
        # A plain environment whatever the process runs in: Lightning would take over SLURM's or torchelastic's.
        plugins=[memory, LightningEnvironment()],
        enable_checkpointing=checkpointing,
        logger=False,
        log_every_n_steps=0,  # never, within an epoch: there is no logger
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
