"""What it costs to watch a network's health: training with it over training without it.

    python -m benchmarks.health --json

Trains the default MLP and CNN on the digits and the default RNN on drawn texts, again and again with and without
the watch in turn, as the service trains them (`train_lean`). The last line of standard output is

    {"ratio": {"mlp": ..., "cnn": ..., "rnn": ...}, "epoch_s": {...}, "settings": {...}}

where a ratio is the median of those of processor times, with the watch over without it: 1.01 is one percent.
Below 1 is noise. Processor time, as what else runs on the machine would otherwise be larger than what is measured;
ratios of two trainings after each other, either first in turn, as the machine's pace changes within minutes.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from statistics import median

import numpy as np

from lightning_modules.data import ArrayDataModule, BuiltinSource, DataInfo, Split, TrainingData
from lightning_modules.fused import train_lean
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings
from search_spaces import get_space

EPOCHS = 10
FAMILIES = ("mlp", "cnn", "rnn")
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


def processor_s(family: str, data: TrainingData, *, health: bool) -> float:
    """Train a trial of the family's defaults and give its processor time."""
    settings = get_space(family).defaults()
    datamodule = ArrayDataModule(data, batch_size=int(settings["batch_size"]), seed=0)
    steps = datamodule.steps_per_epoch
    with seeded(0):
        task = build_task(family, settings, data.info, max_epochs=EPOCHS, steps_per_epoch=steps)
    how = TrainingSettings(metric="val_loss", mode="min", max_epochs=EPOCHS, health=health)
    began = time.process_time()
    train_lean(task, datamodule, settings=how, seed=0, start_epoch=0, end_epoch=EPOCHS, checkpoint=None)
    return time.process_time() - began


def measure(family: str, *, repeats: int) -> tuple[float, float]:
    """Give the median time without the watch, and the median ratio of pairs with and without it."""
    data = read_data(family)
    processor_s(family, data, health=True)  # warm-up
    plain, ratios = [], []
    for repeat in range(repeats):
        order = (False, True) if repeat % 2 else (True, False)
        times = {health: processor_s(family, data, health=health) for health in order}
        plain.append(times[False])
        ratios.append(times[True] / times[False])
    return median(plain), median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="trainings with and without, of each family")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = {family: measure(family, repeats=options.repeats) for family in FAMILIES}
    ratio = {family: pairs for family, (_, pairs) in found.items()}
    if options.json:
        epoch_s = {family: plain / EPOCHS for family, (plain, _) in found.items()}
        settings = {"epochs": EPOCHS, "repeats": options.repeats}
        print(json.dumps({"ratio": ratio, "epoch_s": epoch_s, "settings": settings}))
        return
    for family, factor in ratio.items():
        print(f"{family}: watching health costs {factor - 1:+.1%} of the training time")


if __name__ == "__main__":
    main()
