"""What a member of a fused cohort costs against training it alone with Lightning.

    python -m benchmarks.fused --json
    python -m benchmarks.fused --device cuda --json

Trains the same trials both ways, in turn, and takes the shortest time of each: a cohort of 16, and one member of
it by `lightning_modules.training.train`. On the CPU time is processor time on one thread, as what else runs on the
machine would otherwise be measured too; on a GPU it is wall-clock time, for cohorts of 1, 4, 16, 64 and 128, with
the GPU memory that a member takes. The last line of standard output is

    {"speedup": {"mlp": ..., "rnn": ..., "lstm": ..., "gru": ..., "cnn": ...}, "alone_s": {...}, "fused_s": {...},
     "chosen": {...}, "settings": {...}}

where `speedup` is that of what `lightning_modules.fused.choose` chooses, and 1.0 where it chooses to train one by
one; `fused_s` is what fusing takes either way, `chosen` says what was chosen and why. With `--device cuda` all of
these but `chosen` and `settings` are by size of the cohort, beside `memory_mib`.

`mlp`: the digits, two layers of 128, batches of 32. `rnn`, `lstm`, `gru`: 64 hidden units, one direction, drawn
series of 30 steps and 8 channels, batches of 32. `cnn`: two 3x3 blocks of 32 and 64 channels, drawn images of
28x28, batches of 64.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from lightning_modules.data import ArrayDataModule, BuiltinSource, DataInfo, Split, TrainingData
from lightning_modules.fused import CohortMember, choose, train_cohort
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import Accelerator, TrainingSettings, train

COHORT = 16
GPU_COHORTS = (1, 4, 16, 64, 128)
EPOCHS = 4
SERIES_ROWS, STEPS, CHANNELS = 640, 30, 8
IMAGE_ROWS, SIDE = 320, 28
VALIDATION_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained under one name."""

    family: str
    values: dict[str, Any]
    data: TrainingData


def drawn(kind: str, rows: int) -> TrainingData:
    """Draw rows of two classes: series of one length, or images."""
    generator = np.random.default_rng(0)

    def split(size: int) -> Split:
        if kind == "series":
            x = generator.standard_normal((size, STEPS, CHANNELS)).astype(np.float32)
            inputs = {"series": x, "lengths": np.full(size, STEPS)}
        else:
            x = generator.standard_normal((size, 1, SIDE, SIDE)).astype(np.float32)
            inputs = {"image": x}
        return Split(inputs=inputs, target=(x.reshape(size, -1)[:, :4].sum(axis=1) > 0).astype(np.int64))

    info = DataInfo(
        kind="series" if kind == "series" else "image",
        task="classification",
        num_outputs=2,
        num_train=rows,
        num_validation=VALIDATION_ROWS,
        num_features=CHANNELS if kind == "series" else 0,
        image_shape=None if kind == "series" else (1, SIDE, SIDE),
        max_length=STEPS if kind == "series" else 0,
        class_names=("0", "1"),
    )
    return TrainingData(info=info, train=split(rows), validation=split(VALIDATION_ROWS))


def cases() -> dict[str, Case]:
    """Give what is measured, by name."""
    digits = BuiltinSource(
        name="digits", validation_fraction=0.15, test_fraction=0.15, split_seed=0
    ).read_training()
    series, images = drawn("series", SERIES_ROWS), drawn("image", IMAGE_ROWS)
    recurrent = {"width": 64, "bidirectional": False, "batch_size": 32}
    cells = {"rnn": "vanilla", "lstm": "lstm", "gru": "gru"}
    return {
        "mlp": Case(family="mlp", values={"width": 128, "depth": 2, "batch_size": 32}, data=digits),
        **{
            name: Case(family="rnn", values={**recurrent, "cell": cell}, data=series)
            for name, cell in cells.items()
        },
        "cnn": Case(family="cnn", values={"batch_size": 64}, data=images),
    }


def settings_of(device: Accelerator) -> TrainingSettings:
    """Say how both ways train."""
    return TrainingSettings(metric="val_loss", mode="min", max_epochs=EPOCHS, accelerator=device)


def train_alone(case: Case, *, device: Accelerator) -> None:
    """Train one member."""
    with seeded(0):
        loader = ArrayDataModule(case.data, batch_size=case.values["batch_size"], seed=0, device=device)
        steps = loader.steps_per_epoch
        task = build_task(case.family, case.values, case.data.info, max_epochs=EPOCHS, steps_per_epoch=steps)
    how = settings_of(device)
    train(task, loader, settings=how, seed=0, start_epoch=0, end_epoch=EPOCHS, checkpoint=None)


def train_fused(case: Case, size: int, *, device: Accelerator) -> None:
    """Train a cohort whose members have learning rates of their own."""
    members = [
        CohortMember(settings={**case.values, "lr": 1e-3 * (1.0 + number / size)}, seed=number)
        for number in range(size)
    ]
    how = settings_of(device)
    train_cohort(case.family, members, case.data, settings=how, start_epoch=0, end_epoch=EPOCHS)


def shortest_s(ways: list[Callable[[], None]], *, repeats: int, device: Accelerator) -> list[float]:
    """Give the shortest time of each way, measured in turn after a warm-up."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    times: list[list[float]] = [[] for _ in ways]
    for repeat in range(repeats + 1):
        for way, taken in zip(ways, times, strict=True):
            began = clock()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                taken.append(clock() - began)
    return [min(taken) for taken in times]


def on_cpu(repeats: int) -> dict[str, Any]:
    """Measure on one thread."""
    found: dict[str, dict[str, Any]] = {"speedup": {}, "alone_s": {}, "fused_s": {}, "chosen": {}}
    for name, case in cases().items():
        alone, fused = shortest_s(
            [
                lambda case=case: train_alone(case, device="cpu"),  # type: ignore[misc]
                lambda case=case: train_fused(case, COHORT, device="cpu"),  # type: ignore[misc]
            ],
            repeats=repeats,
            device="cpu",
        )
        choice = choose(case.family, [case.values] * COHORT, case.data, settings=settings_of("cpu"))
        found["alone_s"][name], found["fused_s"][name] = alone, fused / COHORT
        found["speedup"][name] = alone / (fused / COHORT) if choice.fused else 1.0
        found["chosen"][name] = {"fused": choice.fused, "reason": choice.reason}
    return {**found, "settings": {"cohort": COHORT, "epochs": EPOCHS, "repeats": repeats, "threads": 1}}


def on_cuda(repeats: int) -> dict[str, Any]:
    """Measure on a GPU, for cohorts of several sizes, with the memory of each member."""
    found: dict[str, dict[str, Any]] = {"speedup": {}, "alone_s": {}, "fused_s": {}, "memory_mib": {}}
    for name, case in cases().items():
        (alone,) = shortest_s(
            [lambda case=case: train_alone(case, device="cuda")],  # type: ignore[misc]
            repeats=repeats,
            device="cuda",
        )
        found["alone_s"][name] = alone
        for kind in ("speedup", "fused_s", "memory_mib"):
            found[kind][name] = {}
        for size in GPU_COHORTS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            (fused,) = shortest_s(
                [lambda case=case, size=size: train_fused(case, size, device="cuda")],  # type: ignore[misc]
                repeats=repeats,
                device="cuda",
            )
            found["fused_s"][name][size] = fused / size
            found["speedup"][name][size] = alone / (fused / size)
            found["memory_mib"][name][size] = torch.cuda.max_memory_allocated() / size / 2**20
    device = torch.cuda.get_device_name()
    return {**found, "settings": {"epochs": EPOCHS, "repeats": repeats, "device": device}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each kind that count")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda needs a CUDA device, torch {torch.__version__} finds none: leave it out")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = on_cpu(options.repeats) if options.device == "cpu" else on_cuda(options.repeats)
    found["settings"]["versions"] = {name: version(name) for name in ("torch", "pytorch-lightning")}
    if options.json:
        print(json.dumps(found))
        return
    for name, speedup in found["speedup"].items():
        print(f"{name}: {speedup}")


if __name__ == "__main__":
    main()
