"""A probe's leg -> its result: short trainings before the search that are no trials."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch

from lightning_modules.data import TrainingData
from lightning_modules.data.module import TensorSplit
from lightning_modules.lr_range import measure_lr_range
from lightning_modules.overfit import check_overfit, pick_rows
from lightning_modules.seeding import seeded
from service.engine.train import NO_CUDA, LegContext, build_trial, describe_error
from service.legs import Leg, LegResult, Member, MemberResult


def probe_leg(context: LegContext, leg: Leg) -> LegResult:
    """Carry out a probe; what raises is `failed`, with the error."""
    (member,) = leg.members
    if context.use_gpu and not torch.cuda.is_available():
        return LegResult(
            key=leg.key, members=(MemberResult(number=member.number, state="failed", message=NO_CUDA),)
        )
    try:
        report = _overfit(context, member) if leg.kind == "overfit" else _lr_range(context, leg, member)
        result = MemberResult(number=member.number, state="completed", report=report)
    except Exception as error:
        result = MemberResult(number=member.number, state="failed", message=describe_error(error))
    device = torch.cuda.get_device_name() if context.use_gpu else "cpu"
    return LegResult(key=leg.key, members=(result,), device=device)


def _overfit(context: LegContext, member: Member) -> dict[str, Any]:
    _, datamodule = _build(context, member)
    if isinstance(context.data, TrainingData):
        rows = pick_rows(context.data.train, context.data.info)
        batch: Any = TensorSplit(context.data.train).select(torch.from_numpy(rows))
    else:
        batch = next(iter(_training_batches(datamodule)))
    report = check_overfit(lambda: _build(context, member)[0], batch, settings=context.training, seed=member.seed)
    return report.to_dict()


def _lr_range(context: LegContext, leg: Leg, member: Member) -> dict[str, Any]:
    module, datamodule = _build(context, member)
    steps = measure_lr_range(
        module,
        _training_batches(datamodule),
        settings=context.training,
        seed=member.seed,
        **leg.arguments,
    )
    return {
        "lr": [lr for lr, _ in steps],
        "loss": [loss if math.isfinite(loss) else None for _, loss in steps],
    }


def _build(context: LegContext, member: Member) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    with seeded(member.seed, cuda=context.use_gpu):
        return build_trial(context, member.params, seed=member.seed)


def _training_batches(datamodule: pl.LightningDataModule) -> Any:
    with seeded(0):  # as Lightning's own call of it is, see `lightning_modules.process`
        datamodule.prepare_data()
        datamodule.setup("fit")
        return datamodule.train_dataloader()
