"""How fast rows reach a network: tuneladder's `BatchLoader` against torch's `DataLoader` over a `TensorDataset`.

    python -m benchmarks.inputs --json

Trains `benchmarks.digits_problem`'s MLP twice in one process, epoch by epoch in turn, from the same weights and in
the same order of rows: the losses are the same, and only the loader differs. The last line of standard output is

    {"ratio": ..., "batch_size": 128, "samples_per_second": {"batch_loader": ..., "data_loader": ...},
     "loading_alone": {"ratio": ..., "samples_per_second": {...}}, "losses": {...},
     "by_batch_size": {"32": {...}, "64": {...}, "128": {...}}, "settings": {...}}

where a ratio is ours over theirs, of medians over the epochs. In front stand the figures of the largest batch
size, and all of them in `by_batch_size`: a DataLoader's cost grows with the rows of a batch, a small network's
step hardly does, so the ratio grows with the batch. The loop around the two is plain PyTorch without dropout;
whatever else a step costs brings the ratio nearer to 1. `loading_alone` is the same without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from benchmarks import digits_problem as problem
from lightning_modules.data import BatchLoader, BuiltinSource, TensorSplit, TrainingData, permutation
from lightning_modules.families import split_settings
from lightning_modules.losses import make_loss
from lightning_modules.optimizers import make_optimizer
from lightning_modules.seeding import seeded

SEED = 0
OURS, THEIRS = "batch_loader", "data_loader"
Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]  # of an epoch, from 0


class SameOrder(Sampler[int]):
    """Rows in the order in which `BatchLoader` gives them."""

    def __init__(self, num_rows: int, *, seed: int) -> None:
        self.num_rows, self.seed, self.epoch = num_rows, seed, 0

    def __iter__(self) -> Iterator[int]:
        return iter(permutation(self.num_rows, seed=self.seed, epoch=self.epoch).tolist())

    def __len__(self) -> int:
        return self.num_rows


def make_batches(data: TrainingData, *, batch_size: int) -> dict[str, Batches]:
    """Make both loaders over the training rows, each as epoch -> batches."""
    split = TensorSplit(data.train)
    ours = BatchLoader(split, batch_size=batch_size, seed=SEED)
    order = SameOrder(len(split), seed=SEED)
    rows = TensorDataset(split.inputs["image"], split.target)
    theirs: DataLoader[tuple[Tensor, ...]] = DataLoader(rows, batch_size=batch_size, sampler=order)

    def ours_of(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        ours.set_epoch(epoch)
        return ((inputs["image"], target) for inputs, target in ours)

    def theirs_of(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order.epoch = epoch
        return iter(theirs)

    return {OURS: ours_of, THEIRS: theirs_of}


class Training:
    """The digits MLP with the recipe's optimizer, from the same weights each time."""

    def __init__(self, data: TrainingData, *, batch_size: int) -> None:
        config, recipe = split_settings("mlp", problem.FIXED | {"batch_size": batch_size, "dropout": 0.0})
        with seeded(SEED):
            self.network = config.build(data.info)
        self.loss: nn.Module = make_loss(recipe, data.info)
        self.optimizer = make_optimizer(self.network, recipe)

    def train(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Train one epoch and give the mean of its batches' losses."""
        total, num_batches = torch.zeros(()), 0
        for image, target in batches:
            self.optimizer.zero_grad()
            loss: Tensor = self.loss(self.network({"image": image}), target)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach()
            num_batches += 1
        return float(total) / num_batches


def measure(epoch_of: Mapping[str, Callable[[int], object]], *, num_rows: int, epochs: int) -> dict[str, Any]:
    """Run epochs in turn, so that a busy machine slows both, and turn seconds into samples a second.

    The first epoch of each is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in epoch_of}
    for epoch in range(epochs + 1):
        for name, run in epoch_of.items():
            start = time.perf_counter()
            run(epoch)
            if epoch:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: num_rows / statistics.median(values) for name, values in seconds.items()}
    return {"samples_per_second": rates, "ratio": rates[OURS] / rates[THEIRS]}


def compare(*, epochs: int, batch_size: int) -> dict[str, Any]:
    """Train with both loaders, then load with both and train nothing.

    Raises:
        RuntimeError: The losses differ, so the two did not train on the same rows.
    """
    data = BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.15).read_training()
    batches = make_batches(data, batch_size=batch_size)
    losses: dict[str, list[float]] = {name: [] for name in batches}
    trainings = {name: Training(data, batch_size=batch_size) for name in batches}

    def train_with(name: str) -> Callable[[int], None]:
        def run(epoch: int) -> None:
            losses[name].append(trainings[name].train(batches[name](epoch)))

        return run

    def load_with(name: str) -> Callable[[int], int]:
        return lambda epoch: sum(len(target) for _, target in batches[name](epoch))

    num_rows = len(data.train)
    trained = measure({name: train_with(name) for name in batches}, num_rows=num_rows, epochs=epochs)
    loaded = measure({name: load_with(name) for name in batches}, num_rows=num_rows, epochs=epochs)
    if losses[OURS] != losses[THEIRS]:
        raise RuntimeError(f"both loaders must give the same losses, got {losses}")
    return {**trained, "loading_alone": loaded, "losses": losses}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inputs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=60, help="timed epochs of each")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=problem.SPACE["batch_size"]["choices"])
    parser.add_argument("--threads", type=int, default=1, help="torch's")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name, least in (
        ("epochs", chosen.epochs),
        ("batch-sizes", min(chosen.batch_sizes)),
        ("threads", chosen.threads),
    ):
        if least < 1:
            parser.error(f"--{name} is at least 1, got {least}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    by_size: dict[str, dict[str, Any]] = {}
    for batch_size in sorted(chosen.batch_sizes):
        comparison = compare(epochs=chosen.epochs, batch_size=batch_size)
        by_size[str(batch_size)] = comparison
        for title, part in (("training", comparison), ("loading alone", comparison["loading_alone"])):
            rates = part["samples_per_second"]
            print(
                f"batches of {batch_size}, {title}: {rates[OURS]:,.0f} samples a second with BatchLoader, "
                f"{rates[THEIRS]:,.0f} with DataLoader: {part['ratio']:.2f} times as many",
                file=sys.stderr,
            )
        print(f"last loss with both: {comparison['losses'][OURS][-1]:.6f}", file=sys.stderr)
    settings = {key: value for key, value in vars(chosen).items() if key != "json"}
    headline = {**comparison, "batch_size": batch_size, "by_batch_size": by_size}
    if chosen.json:
        print(json.dumps(headline | {"settings": settings | {"cores": os.cpu_count()}}))
    else:
        print(f"{headline['ratio']:.2f} times as many samples a second in batches of {batch_size}")


if __name__ == "__main__":
    main()
