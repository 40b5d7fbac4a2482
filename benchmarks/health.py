"""What it costs to watch a network's health: training with it over training without it.

    python -m benchmarks.health --json

Trains the default MLP and CNN on the digits and the default RNN on drawn texts, each with and without the watch,
as the service trains them (`train_lean`), two epochs of either in turn: of short ones every second is watched. The
last line of standard output is

    {"ratio": {"mlp": ..., "cnn": ..., "rnn": ...}, "error": {...}, "epoch_s": {...}, "settings": {...}}

where a ratio is the median of those of processor times, with the watch over without it: 1.01 is one percent. Its
error is the standard error, from the spread of the pairs. Processor time, as what else runs on the machine would
otherwise be larger than what is measured; two epochs after each other, either first in turn, as the machine's
pace changes within seconds.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from statistics import median

import numpy as np

from lightning_modules.data import ArrayDataModule, BuiltinSource, DataInfo, Split, TrainingData
from lightning_modules.fused.lean import LeanLoop
from lightning_modules.fused.member import Member
from lightning_modules.process import quiet_process
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings, make_record
from search_spaces import get_space

EPOCHS = 20
FAMILIES = ("mlp", "cnn", "rnn")
FIGURES = ("ratio", "error", "epoch_s")
VOCABULARY, LONGEST, ROWS, CLASSES = 500, 12, 512, 4


def read_data(family: str) -> TrainingData:
    """Give the digits, or for the RNN drawn texts whose first word tells their class."""
    if family != "rnn":
        source = BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.15, split_seed=0)
        return source.read_training()
    generator = np.random.default_rng(0)
    train_split, validation = _texts(generator, ROWS), _texts(generator, ROWS // 4)
    info = DataInfo(
        kind="text",
        task="classification",
        num_outputs=CLASSES,
        num_train=ROWS,
        num_validation=ROWS // 4,
        vocabulary_size=VOCABULARY,
        max_length=LONGEST,
        class_names=tuple(map(str, range(CLASSES))),
    )
    return TrainingData(info=info, train=train_split, validation=validation)


def _texts(generator: np.random.Generator, num_rows: int) -> Split:
    tokens = generator.integers(2, VOCABULARY, size=(num_rows, LONGEST))
    lengths = generator.integers(3, LONGEST + 1, size=num_rows)
    tokens[np.arange(LONGEST) >= lengths[:, None]] = 0
    return Split(inputs={"tokens": tokens, "lengths": lengths}, target=tokens[:, 0] % CLASSES)


def trial(family: str, data: TrainingData, *, health: bool) -> LeanLoop:
    """Make a trial of the family's defaults."""
    settings = get_space(family).defaults()
    datamodule = ArrayDataModule(data, batch_size=int(settings["batch_size"]), seed=0)
    steps = datamodule.steps_per_epoch
    with seeded(0):
        task = build_task(family, settings, data.info, max_epochs=EPOCHS, steps_per_epoch=steps)
    how = TrainingSettings(metric="val_loss", mode="min", max_epochs=EPOCHS, health=health)
    member = Member(task, make_record(how, start_epoch=0, end_epoch=EPOCHS), position=0)
    return LeanLoop(member, datamodule, seed=0, health=health)


def processor_s(loop: LeanLoop, first: int) -> float:
    """Train two epochs and give their processor time."""
    began = time.process_time()
    for epoch in (first, first + 1):
        loop.run_epoch(epoch)
    return time.process_time() - began


@dataclass(frozen=True)
class Cost:
    """What the watch adds to a family's training."""

    ratio: float
    error: float
    epoch_s: float  # without it


def measure(family: str, *, repeats: int) -> Cost:
    """Train again and again, and compare epochs with and without the watch."""
    data = read_data(family)
    plain, ratios = [], []
    for repeat in range(1 + repeats):
        loops = {health: trial(family, data, health=health) for health in (False, True)}
        for first in range(0, EPOCHS, 2):
            order = (False, True) if first % 4 else (True, False)
            times = {health: processor_s(loops[health], first) for health in order}
            if repeat:  # the first training is the warm-up
                plain.append(times[False])
                ratios.append(times[True] / times[False])
    middle = median(ratios)
    # Of a median of normal values, from the median deviation: single epochs that were disturbed count for little.
    spread = 1.4826 * median(abs(ratio - middle) for ratio in ratios)
    return Cost(ratio=middle, error=1.2533 * spread / len(ratios) ** 0.5, epoch_s=median(plain) / 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="trainings with and without, of each family")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    with quiet_process(num_threads=1, cuda=False):
        found = {family: measure(family, repeats=options.repeats) for family in FAMILIES}
    if options.json:
        figures = {name: {family: getattr(cost, name) for family, cost in found.items()} for name in FIGURES}
        print(json.dumps(figures | {"settings": {"epochs": EPOCHS, "repeats": options.repeats}}))
        return
    for family, cost in found.items():
        print(f"{family}: watching health costs {cost.ratio - 1:+.1%} of the training time, +- {cost.error:.1%}")


if __name__ == "__main__":
    main()
