"""What each kind of block costs and reaches: one default of each, trained for a few epochs.

    python -m benchmarks.families --json

Every convolutional block on MNIST's 10,000 images, three recurrent cells with two poolings each on the TREC
questions, three blocks of full connections on scikit-learn's digits; `TUNELADDER_DATA` is the folder that holds
`mnist` and `trec`. Settings are the defaults of the family's search space, and for ConvNeXt what its block asks
for. Nothing is tuned, so this compares defaults, not what a kind can reach. The last line of standard output is

    {"families": [{"family": ..., "block": ..., "pooling": ..., "data": ..., "accuracy": ..., "epoch_s": ...,
                   "parameters": ..., "epochs": ...}, ...], "machine": ..., "versions": {...}, "date": ...}

where accuracy is the best epoch's on the validation split, and `epoch_s` wall-clock time with its validation, the
mean over the epochs. `--write docs/families.md` puts the table into that page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.recurrent import CELLS
from lightning_modules.data import (
    ArrayDataModule,
    BuiltinSource,
    DataSource,
    IdxSource,
    Split,
    TextSource,
    TrainingData,
    permutation,
)
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings, train
from search_spaces import get_space

SEED = 0
DATA_FOLDER = Path(os.environ.get("TUNELADDER_DATA", "../shared/data"))
EPOCHS: Mapping[str, int] = {"cnn": 3, "rnn": 6, "mlp": 20}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_SPLITS: dict[str, Any] = {"validation_fraction": 0.1, "test_fraction": 0.1}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of block with the settings that make it."""

    family: str
    data: str  # a key of SOURCES
    block: str
    settings: Mapping[str, Any]
    pooling: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # what this kind asks for beside its family's defaults

    @property
    def name(self) -> str:
        """Such as `rnn gru max`."""
        return " ".join(filter(None, (self.family, self.block, self.pooling)))


def mnist(folder: Path) -> DataSource:
    """Read MNIST's 10,000 test images; 8,000 of them are trained on."""
    return IdxSource(folder=folder / "mnist", **_SPLITS)


def trec(folder: Path) -> DataSource:
    """Read the TREC questions in six classes."""
    return TextSource(path=folder / "trec" / "train_5500.label", encoding="latin-1", max_length=30, **_SPLITS)


def digits(folder: Path) -> DataSource:
    """Read scikit-learn's digits; they need no folder."""
    return BuiltinSource(name="digits", **_SPLITS)


SOURCES: Mapping[str, Callable[[Path], DataSource]] = {"mnist": mnist, "trec": trec, "digits": digits}
_CONVNEXT = {"kernel_size": 7, "norm": "layer", "activation": "gelu"}  # Liu et al. 2022, arXiv:2201.03545


def kinds() -> list[Kind]:
    """List what is trained: every block for images, cells with the default pooling and with attention, MLPs."""
    convolutional = [name for name in CONV_BLOCKS if name != "temporal"]  # which reads series alone
    found = [
        Kind(
            family="cnn",
            data="mnist",
            block=block,
            settings={"block": block, "head_width": 64},
            extra=_CONVNEXT if block == "convnext" else {},
        )
        for block in convolutional
    ]
    found += [
        Kind(family="rnn", data="trec", block=cell, pooling=pooling, settings={"cell": cell, "pooling": pooling})
        for cell in CELLS
        for pooling in ("max", "attention")
    ]
    found += [
        Kind(family="mlp", data="digits", block=block, settings={"block": block})
        for block in ("plain", "residual", "swiglu")
    ]
    return found


def settings_of(kind: Kind) -> dict[str, Any]:
    """Lay a kind's settings over the defaults of its family's search space."""
    return {**get_space(kind.family).defaults(), **kind.settings, **kind.extra}


def shortened(data: TrainingData, rows: int | None) -> TrainingData:
    """Take so many training rows and a quarter as many validation rows, drawn by a fixed seed; None for all."""
    if rows is None:
        return data

    def part(split: Split, most: int) -> Split:
        index = permutation(len(split), seed=SEED, epoch=0)[:most].numpy()
        inputs = {name: array[index] for name, array in split.inputs.items()}
        return Split(inputs=inputs, target=split.target[index])

    train_rows, validation_rows = part(data.train, rows), part(data.validation, max(1, rows // 4))
    info = replace(data.info, num_train=len(train_rows), num_validation=len(validation_rows))
    return replace(data, train=train_rows, validation=validation_rows, info=info)


def measure(kind: Kind, data: TrainingData, *, epochs: int) -> dict[str, Any]:
    """Train one kind from fresh weights and give its row of the table."""
    values = settings_of(kind)
    loader = ArrayDataModule(data, batch_size=values["batch_size"], seed=SEED)
    with seeded(SEED):
        task = build_task(
            kind.family, values, data.info, max_epochs=epochs, steps_per_epoch=loader.steps_per_epoch
        )
    outcome = train(
        task,
        loader,
        settings=TrainingSettings(metric="val_accuracy", mode="max", max_epochs=epochs),
        seed=SEED,
        start_epoch=0,
        end_epoch=epochs,
        checkpoint=None,
    )
    return {
        "family": kind.family,
        "block": kind.block,
        "pooling": kind.pooling,
        "data": kind.data,
        "accuracy": max(metrics["val_accuracy"] for _, metrics in outcome.measurements),
        "epoch_s": outcome.train_s / len(outcome.measurements),
        "parameters": sum(parameter.numel() for parameter in task.network.parameters()),
        "epochs": len(outcome.measurements),
    }


def describe_run() -> dict[str, Any]:
    """Say where and when the figures were taken."""
    packages = ("tuneladder", "torch", "pytorch-lightning")
    return {
        "machine": f"{os.cpu_count()}-core CPU",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def table(result: Mapping[str, Any]) -> str:
    """Write the figures in Markdown, with where and when they were taken."""
    head = ("family", "block", "pooling", "data", "epochs", "accuracy", "seconds an epoch", "parameters")
    rows = [
        [
            row["family"],
            f"`{row['block']}`",
            f"`{row['pooling']}`" if row["pooling"] else "",
            row["data"],
            str(row["epochs"]),
            f"{row['accuracy']:.3f}",
            f"{row['epoch_s']:.2f}",
            f"{row['parameters']:,}",
        ]
        for row in result["families"]
    ]
    lines = [head, ["---"] * len(head), *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return f"{body}\n\nMeasured on {result['date']}, {result['machine']}, one thread; {versions}.\n"


def write_table(page: Path, result: Mapping[str, Any]) -> None:
    """Replace what stands between the page's two marks.

    Raises:
        ValueError: The page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a page for the table has {BEGIN} and behind it {END}, {page} has not: add them")
    page.write_text(f"{before}{BEGIN}\n\n{table(result)}\n{END}{after}", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.families",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join(f"{name} {count}" for name, count in EPOCHS.items())
    parser.add_argument("--epochs", type=int, default=None, help=f"of each training; default: {known}")
    parser.add_argument("--rows", type=int, default=None, help="training rows of each set; default: all")
    parser.add_argument("--only", default="", help="families to train, such as cnn,mlp")
    parser.add_argument("--data", type=Path, default=DATA_FOLDER, help="folder with mnist and trec")
    parser.add_argument("--write", type=Path, default=None, help="page whose table is replaced")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name in ("epochs", "rows"):
        value = getattr(chosen, name)
        if value is not None and value < (4 if name == "rows" else 1):
            parser.error(f"--{name} is at least {4 if name == 'rows' else 1}, got {value}")
    unknown = sorted(set(filter(None, chosen.only.split(","))) - set(EPOCHS))
    if unknown:
        parser.error(f"--only names families out of {', '.join(EPOCHS)}, got {', '.join(unknown)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every kind and print the table."""
    chosen = _parse(arguments)
    wanted = chosen.only.split(",") if chosen.only else list(EPOCHS)
    sets: dict[str, TrainingData] = {}
    rows = []
    for kind in (kind for kind in kinds() if kind.family in wanted):
        if kind.data not in sets:
            sets[kind.data] = shortened(SOURCES[kind.data](chosen.data).read_training(), chosen.rows)
        row = measure(kind, sets[kind.data], epochs=chosen.epochs or EPOCHS[kind.family])
        rows.append(row)
        print(
            f"{kind.name} on {kind.data}: accuracy {row['accuracy']:.3f}, {row['epoch_s']:.2f} s an epoch, "
            f"{row['parameters']:,} parameters",
            file=sys.stderr,
        )
    result = {"families": rows, **describe_run()}
    if chosen.write is not None:
        write_table(chosen.write, result)
    print(json.dumps(result) if chosen.json else table(result), end="\n" if chosen.json else "")


if __name__ == "__main__":
    main()
