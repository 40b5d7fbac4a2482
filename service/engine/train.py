"""A leg of trials -> its result.

`train_leg` trains the members of a leg as one network, or one after another where that cannot be; what goes wrong
in one of them ends that one alone.
"""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

from lightning_modules.augmentation import make_augmentation
from lightning_modules.data import ArrayDataModule, Augment, DiskArray, Split, TrainingData, batches
from lightning_modules.families import FAMILIES, split_settings
from lightning_modules.fused import CohortMember, can_train_lean, train_cohort, train_lean
from lightning_modules.metrics import name_classes
from lightning_modules.seeding import seeded
from lightning_modules.task import SupervisedTask, build_task
from lightning_modules.training import Precision, TrainingOutcome, TrainingSettings, evaluate_best, train
from lightning_modules.transfer import Start
from lightning_modules.trial import Mode
from service.legs import Leg, LegResult, Measurement, Member, MemberResult
from service.own_code import BuiltInData, OwnDataModule, import_class, make_datamodule, make_module, sort_arguments

_OWN_BATCH_SIZE = 64  # of a person's module on a built-in set, unless batch_size is a hyperparameter
_MAX_DEVICE_BYTES = 2**30  # data up to this size lives on the GPU: no batch is transferred
_MAX_WORKERS = 4  # that select batches ahead; more wait for each other at the arrays
NO_CUDA = (
    f"a slot with a GPU needs a CUDA device, torch {torch.__version__} finds none in the worker: install torch "
    "for CUDA there, or set resources.gpu: 0"
)
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@dataclass(frozen=True, kw_only=True)
class LegContext:
    """What is the same for every leg of a job.

    Attributes:
        family: mlp, cnn or rnn; or a person's own LightningModule, by class or import path `package.module:Class`.
        fixed: Settings that no trial changes; a member's params lie over them.
        data: The splits that steer the search, or a person's own LightningDataModule.
        metric: The objective, by the name under which the module logs it.
        mode: min or max.
        max_epochs: Length of a whole trial.
        patience: Epochs without improvement that end a trial; None for no end.
        min_delta: An improvement for patience is more than this.
        num_threads: torch's threads in a slot; from the spec, never from the machine.
        precision: 32, bf16 or 64.
        use_gpu: Whether slots train on a GPU.
        start: Weights that the trials of a family start from.
        health: Whether each epoch's first step is watched, see `lightning_modules.health`.
    """

    family: str | type[pl.LightningModule]
    data: TrainingData | OwnDataModule
    metric: str
    mode: Mode
    max_epochs: int
    fixed: Mapping[str, Any] = field(default_factory=dict)
    patience: int | None = None
    min_delta: float = 0.0
    num_threads: int = 1
    precision: Precision = "32"
    use_gpu: bool = False
    start: Start | None = None
    health: bool = False

    @property
    def training(self) -> TrainingSettings:
        """The part that `lightning_modules.training` needs."""
        return TrainingSettings(
            metric=self.metric,
            mode=self.mode,
            max_epochs=self.max_epochs,
            patience=self.patience,
            min_delta=self.min_delta,
            num_threads=self.num_threads,
            accelerator="cuda" if self.use_gpu else "cpu",
            precision=self.precision,
            health=self.health,
        )


def train_leg(context: LegContext, leg: Leg) -> LegResult:
    """Train the members of a leg, as one network if there are several.

    Where the cohort raises, its members are trained in turn, which finds out whose fault it was: a member that
    raises is `failed`, with the error and the last line of its own code; the others go on. KeyboardInterrupt and
    SystemExit end the leg.
    """
    if context.use_gpu and not torch.cuda.is_available():
        failed = tuple(
            MemberResult(number=member.number, state="failed", message=NO_CUDA) for member in leg.members
        )
        return LegResult(key=leg.key, members=failed)
    together = _train_together(context, leg) if len(leg.members) > 1 else None
    return LegResult(
        key=leg.key,
        members=together or tuple(_train_or_fail(context, leg, member) for member in leg.members),
        device=torch.cuda.get_device_name() if context.use_gpu else "cpu",
        fused=together is not None,
    )


def evaluate(
    context: LegContext,
    checkpoint: bytes,
    params: Mapping[str, Any],
    test: Split | pl.LightningDataModule | None = None,
) -> dict[str, Any]:
    """Test the best epoch's weights of a trial. For the winner alone: a test split is read once.

    Args:
        context: Of the job.
        checkpoint: Of the trial.
        params: Of the trial.
        test: The test split, or a data module that gives it; None for the context's own data module.

    Returns:
        What the module logs, such as test_loss, and for classification by a family test_per_class_f1 and
        test_confusion_matrix by the names of the classes; empty where a person's own module or data module has no
        test.

    Raises:
        ValueError: The checkpoint holds no best epoch, or no test split is given for built-in data.
    """
    with seeded(0, cuda=context.use_gpu):
        module, datamodule = build_trial(context, params, seed=0)
    if isinstance(test, Split):
        data: Any = batches(test, device=_device(context, test))
    else:
        data = test or datamodule
        if isinstance(data, ArrayDataModule):
            raise ValueError("a test split must be given for built-in data, got none: read it with read_test()")
        if not is_overridden("test_dataloader", data, parent=pl.LightningDataModule):
            return {}
    if not is_overridden("test_step", module, parent=pl.LightningModule):
        return {}
    logged = evaluate_best(module, data, settings=context.training, checkpoint=checkpoint)
    if not isinstance(module, SupervisedTask):
        return logged
    return {**logged, **name_classes(module.test_report, module.info)}


def _train_together(context: LegContext, leg: Leg) -> tuple[MemberResult, ...] | None:
    """Train a cohort as one network; None if it cannot be done."""
    if not isinstance(context.family, str) or not isinstance(context.data, TrainingData):
        return None
    members = [
        CohortMember(settings={**context.fixed, **member.params}, seed=member.seed, checkpoint=member.checkpoint)
        for member in leg.members
    ]
    try:
        outcomes = train_cohort(
            context.family,
            members,
            context.data,
            settings=context.training,
            start_epoch=leg.start_epoch,
            end_epoch=leg.end_epoch,
            start=context.start,
        )
    except (
        Exception
    ):  # such as one member's contradiction, or memory that the cohort exceeds and a member does not
        return None
    return tuple(_result(member, outcome) for member, outcome in zip(leg.members, outcomes, strict=True))


def _train_or_fail(context: LegContext, leg: Leg, member: Member) -> MemberResult:
    try:
        outcome = _train_member(context, leg, member)
    except Exception as error:
        return MemberResult(number=member.number, state="failed", message=describe_error(error))
    return _result(member, outcome)


def _result(member: Member, outcome: TrainingOutcome) -> MemberResult:
    return MemberResult(
        number=member.number,
        state=outcome.state,
        measurements=tuple(
            Measurement(epoch=epoch, metrics={k: v if math.isfinite(v) else None for k, v in metrics.items()})
            for epoch, metrics in outcome.measurements
        ),
        checkpoint=outcome.checkpoint,
        train_s=outcome.train_s,
    )


def _train_member(context: LegContext, leg: Leg, member: Member) -> TrainingOutcome:
    with seeded(member.seed, cuda=context.use_gpu):
        module, datamodule = build_trial(context, member.params, seed=member.seed)
    # The same to the bit; who trains a trial is no part of its result.
    training: Any = train_lean if can_train_lean(module, datamodule, context.training) else train
    outcome: TrainingOutcome = training(
        module,
        datamodule,
        settings=context.training,
        seed=member.seed,
        start_epoch=leg.start_epoch,
        end_epoch=leg.end_epoch,
        checkpoint=member.checkpoint,
    )
    return outcome


def build_trial(
    context: LegContext, params: Mapping[str, Any], *, seed: int
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    """Make a trial's module, with weights from torch's global generator, and its data module."""
    values = {**context.fixed, **params}
    if isinstance(context.family, str) and context.family in FAMILIES:
        return _build_family(context, context.family, values, seed=seed)
    return _build_own(context, values, seed=seed)


def _build_family(
    context: LegContext, family: str, values: Mapping[str, Any], *, seed: int
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    if not isinstance(context.data, TrainingData):
        raise ValueError(f"{family} needs to know its data, got a LightningDataModule: give a module of your own")
    _, recipe = split_settings(family, values)
    augment = make_augmentation(recipe, context.data, seed=seed)
    datamodule = _array_datamodule(context, context.data, batch_size=recipe.batch_size, seed=seed, augment=augment)
    task = build_task(
        family,
        values,
        context.data.info,
        max_epochs=context.max_epochs,
        steps_per_epoch=datamodule.steps_per_epoch,
        auroc=context.metric == "val_auroc",
        start=context.start,
        words=context.data.preprocessing.get("words", ()),
    )
    return task, datamodule


def _build_own(
    context: LegContext, values: Mapping[str, Any], *, seed: int
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    module_class = import_class(context.family)
    if isinstance(context.data, OwnDataModule):
        data_class = import_class(context.data.module)
        arguments = sort_arguments(values, module=module_class, data=data_class)
        own = make_datamodule(data_class, {**context.data.params, **arguments.data})
        return make_module(module_class, arguments.module, info=None), own
    arguments = sort_arguments(values, module=module_class, data=BuiltInData)
    data = context.data
    batch_size = arguments.data.get("batch_size", _OWN_BATCH_SIZE)
    module = make_module(module_class, arguments.module, info=data.info)
    return module, _array_datamodule(context, data, batch_size=batch_size, seed=seed)


def _array_datamodule(
    context: LegContext, data: TrainingData, *, batch_size: int, seed: int, augment: Augment | None = None
) -> ArrayDataModule:
    device = _device(context, data.train, data.validation)
    # What a GPU does not hold, and what no memory holds, is selected ahead: by the slot's other cores, and where
    # there are none by a process that waits for the disk.
    on_disk = any(isinstance(array, DiskArray) for array in data.train.inputs.values())
    streams = on_disk or (context.use_gpu and device == "cpu")
    num_workers = min(_MAX_WORKERS, max(context.num_threads - 1, on_disk)) if streams else 0
    return ArrayDataModule(
        data, batch_size=batch_size, seed=seed, device=device, augment=augment, num_workers=num_workers
    )


def _device(context: LegContext, *splits: Split) -> str:
    num_bytes = sum(array.nbytes for split in splits for array in (*split.inputs.values(), split.target))
    return "cuda" if context.use_gpu and num_bytes <= _MAX_DEVICE_BYTES else "cpu"


def describe_error(error: Exception) -> str:
    """Name the error and the last line that belongs to no library, without the folders of this machine."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))]
    frame = (own or frames)[-1]
    return f"{type(error).__name__}: {error} (in {frame.name}, {Path(frame.filename).name}:{frame.lineno})"
