"""Batches of all members side by side: each member's rows are those that it would see if it were trained alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.data.module import SEQUENCES, ArrayDataModule, Augment, BatchLoader, permutation


@dataclass(frozen=True)
class StackedBatch:
    """Rows of all members.

    Attributes:
        inputs: (K * B, ...), as `DataInfo` describes them.
        target: (K, B), or (K, B, C) shares of the classes.
        steps: Steps that each member's rows would have without the others', where rows have lengths.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    steps: list[int] | None


class StackedBatches:
    """The training batches of a cohort.

    Args:
        data: Of any member: the members' differ in the order of rows and in augmentation alone.
        seeds: Of the members.
        augments: Of the members; None for those without.
    """

    def __init__(self, data: ArrayDataModule, *, seeds: Sequence[int], augments: Sequence[Augment | None]) -> None:
        loader = data.train_dataloader()
        self._split, self._batch_size = loader.split, loader.batch_size
        self._num_rows = min(len(loader.split), len(loader) * loader.batch_size)  # without what the loader drops
        self.num_steps = len(loader)  # of an epoch
        self._num_outputs = data.info.num_outputs
        lengths = loader.split.inputs.get("lengths")
        self._lengths = None if lengths is None else lengths.cpu()
        self._seeds, self._augments = list(seeds), list(augments)

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some."""
        self._seeds = [self._seeds[member] for member in members]
        self._augments = [self._augments[member] for member in members]

    def epoch(self, epoch: int) -> Iterator[StackedBatch]:
        """Give the batches of an epoch, which counts from 0."""
        rows = len(self._split)
        orders = torch.stack([permutation(rows, seed=seed, epoch=epoch) for seed in self._seeds])  # (K, N)
        for number, start in enumerate(range(0, self._num_rows, self._batch_size)):
            chosen = orders[:, start : min(start + self._batch_size, self._num_rows)]
            if any(self._augments):
                yield self._augmented(chosen, epoch, number)
            else:
                chosen = self._by_length(chosen)
                inputs, target = self._split.select(chosen.reshape(-1))
                steps = None if self._lengths is None else self._lengths[chosen].amax(dim=1).tolist()
                yield StackedBatch(inputs, target.reshape(chosen.shape), steps)

    def _by_length(self, chosen: Tensor) -> Tensor:
        """Put the longest of each member's rows first: a recurrent layer then computes none behind its end."""
        if self._lengths is None:
            return chosen
        return chosen.gather(1, self._lengths[chosen].argsort(dim=1, descending=True, stable=True))

    def _augmented(self, chosen: Tensor, epoch: int, number: int) -> StackedBatch:
        parts = []
        for index, augment in zip(chosen, self._augments, strict=True):
            batch = self._split.select(index)
            if augment is not None:
                batch = augment(*batch, epoch=epoch, batch=number)
            parts.append(batch if self._lengths is None else _longest_first(*batch))
        targets = [target for _, target in parts]
        if any(target.ndim == 2 for target in targets):  # mixed with each other: shares of the classes
            targets = [t if t.ndim == 2 else F.one_hot(t, self._num_outputs).float() for t in targets]
        inputs = {name: _together([inputs[name] for inputs, _ in parts]) for name in parts[0][0]}
        sequences = [[x.shape[1] for name, x in own.items() if name in SEQUENCES] for own, _ in parts]
        return StackedBatch(inputs, torch.stack(targets), [steps for own in sequences for steps in own] or None)


def _longest_first(inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    order = inputs["lengths"].argsort(descending=True, stable=True)
    return {name: x[order] for name, x in inputs.items()}, target[order]


def _together(tensors: Sequence[Tensor]) -> Tensor:
    """Lay the members' rows one behind the other; sequences are padded with zeros to the longest of all."""
    if tensors[0].ndim > 1:
        steps = max(tensor.shape[1] for tensor in tensors)
        tensors = [
            t if t.shape[1] == steps else F.pad(t, [0, 0] * (t.ndim - 2) + [0, steps - t.shape[1]])
            for t in tensors
        ]
    return torch.cat(list(tensors))


def repeated(loader: BatchLoader, num_members: int) -> Iterator[StackedBatch]:
    """Give every member the same rows, in order: for evaluation."""
    for batch in loader:
        inputs, target = _longest_first(*batch) if "lengths" in batch[0] else batch
        many = {name: x.expand(num_members, *x.shape).flatten(0, 1) for name, x in inputs.items()}
        yield StackedBatch(many, target.expand(num_members, -1), None)
