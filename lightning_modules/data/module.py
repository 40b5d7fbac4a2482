"""Splits as Lightning data: batches are index selections from tensors that live once, in memory or on a disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_modules.data.base import Split, TrainingData
from lightning_modules.errors import DataError

Batch = tuple[dict[str, Tensor], Tensor]

# Inputs that are trimmed to a batch's longest row, and where their time axis is.
SEQUENCES = ("tokens", "series")
_EVALUATION_ROWS = 1024
_EVALUATION_BYTES = 64 * 2**20  # of inputs; large images get smaller batches


class Augment(Protocol):
    """Changes a training batch; what it draws follows from epoch and batch, as with `BatchAugmentation`."""

    def __call__(self, inputs: dict[str, Tensor], target: Tensor, *, epoch: int, batch: int) -> Batch:
        """Give the batch to train on; epoch and batch count from 0."""


class TensorSplit:
    """A split's arrays as tensors that share the arrays' memory, or live on a device.

    Args:
        split: Arrays; read-only ones stay as they are.
        device: Where the tensors live; the CPU's share memory with the arrays.
    """

    def __init__(self, split: Split, *, device: torch.device | str = "cpu") -> None:
        tensors = {name: _as_tensor(array) for name, array in split.inputs.items()}
        self._lengths = tensors.get("lengths")  # stays on the CPU: to read it never waits for a GPU
        self.inputs = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.target = _as_tensor(split.target).to(device)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row's inputs."""
        tensors = self.inputs.values()
        return sum(tensor[:1].numel() * tensor.element_size() for tensor in tensors)

    def select(self, index: Tensor) -> Batch:
        """Copy rows: (B,) int64 gives inputs (B, ...) and target (B,), sequences no longer than their longest."""
        steps = None if self._lengths is None else int(self._lengths[index].max())
        index = index.to(self.target.device)
        inputs = {name: _trim(name, x, steps).index_select(0, index) for name, x in self.inputs.items()}
        return inputs, self.target.index_select(0, index)

    def slice(self, start: int, stop: int) -> Batch:
        """Copy rows in order: the arrays may be shared and read-only, a batch is free to be written into."""
        steps = None if self._lengths is None else int(self._lengths[start:stop].max())
        inputs = {name: _trim(name, x[start:stop], steps).clone() for name, x in self.inputs.items()}
        return inputs, self.target[start:stop].clone()


def _trim(name: str, tensor: Tensor, steps: int | None) -> Tensor:
    """Cut what is padding in every row of the batch; a view."""
    return tensor if steps is None or name not in SEQUENCES else tensor[:, :steps]


class _Writable:
    """Shows a read-only array to torch as a writable one: it warns otherwise, once a process, or wants a copy."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array  # keeps the memory alive
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Share an array's memory with a tensor; nothing here writes into it."""
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))


class _EpochSampler:
    """Holds the epoch that Lightning announces; see `BatchLoader.sampler`."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class _Place(NamedTuple):
    """Where a batch lies in an epoch: what it holds follows from this alone, whichever worker fetches it."""

    epoch: int
    number: int
    rows: slice | np.ndarray[Any, Any]  # of the split; in order, or chosen


class _Fetched(Dataset[Batch]):
    """Batches by their places, as torch's workers want them."""

    def __init__(self, fetch: Callable[[_Place], Batch]) -> None:
        self._fetch = fetch

    def __getitem__(self, place: _Place) -> Batch:
        return self._fetch(place)


def _as_it_is(batch: Any) -> Any:
    return batch


class BatchLoader:
    """Batches of a split, in order or shuffled by (seed, epoch).

    Lightning takes any sized iterable for a loader, and calls `loader.sampler.set_epoch` before each epoch, with
    the number of epochs done, also after a checkpoint was loaded. So the order of epoch e is the same in a run of
    one piece and in one that was resumed. A `torch.utils.data.DataLoader` would do the same for 20 us a batch in
    place of 8 (digits, 32 rows), with a warning that it has no workers.

    Args:
        split: The rows.
        batch_size: At least 1.
        seed: None for rows in order.
        drop_last_single: Leave out a last batch of one row where batches are larger: batch norm refuses it.
        augment: Changes each batch; for training alone.
        num_workers: Processes that select batches ahead of the training, for arrays that are read from a disk
            (`numpy.memmap`) or much augmented; the batches are the same. 0 for arrays in memory: selecting a batch
            there takes a fraction of what its way from another process takes.
    """

    batch_sampler: None = None  # Lightning asks every loader with a sampler for it

    def __init__(
        self,
        split: TensorSplit,
        *,
        batch_size: int,
        seed: int | None = None,
        drop_last_single: bool = False,
        augment: Augment | None = None,
        num_workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size >= 1 must hold, got {batch_size}: raise it", field="batch_size")
        if num_workers and split.target.is_cuda:
            raise DataError(
                f"workers read arrays of the CPU, got {num_workers} workers for a split on a GPU: take 0",
                field="num_workers",
            )
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.num_workers = num_workers
        self.sampler = _EpochSampler()
        drops = drop_last_single and batch_size > 1 and len(split) % batch_size == 1
        self._num_rows = len(split) - drops

    def __len__(self) -> int:
        return math.ceil(self._num_rows / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of rows; counts from 0."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        # A generator: the epoch counts that is set when the first batch is asked for, as Lightning makes the
        # iterator of a first or resumed epoch before it announces the epoch.
        places = self._places()
        if not self.num_workers:
            yield from map(self._fetch, places)
            return
        yield from DataLoader(
            _Fetched(self._fetch),
            sampler=places,
            batch_size=None,  # a place is a whole batch
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            multiprocessing_context="fork",  # another one would copy the split to each worker
            generator=torch.Generator(),  # the global one stays as it is: dropout draws as without workers
        )

    def _places(self) -> list[_Place]:
        epoch = self.sampler.epoch
        order = None if self.seed is None else permutation(len(self.split), seed=self.seed, epoch=epoch)
        starts = range(0, self._num_rows, self.batch_size)
        rows = (slice(start, min(start + self.batch_size, self._num_rows)) for start in starts)
        return [
            _Place(epoch=epoch, number=number, rows=part if order is None else order[part].numpy())
            for number, part in enumerate(rows)
        ]

    def _fetch(self, place: _Place) -> Batch:
        rows = place.rows
        if isinstance(rows, slice):
            batch = self.split.slice(rows.start, rows.stop)
        else:
            batch = self.split.select(torch.from_numpy(rows))
        return batch if self.augment is None else self.augment(*batch, epoch=place.epoch, batch=place.number)


def permutation(num_rows: int, *, seed: int, epoch: int) -> Tensor:
    """Give the order of rows in an epoch, (num_rows,) int64; it follows from its arguments alone."""
    # SeedSequence mixes both numbers, so that (1, 0) and (0, 1) have nothing in common.
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(mixed))


def evaluation_batch_size(split: TensorSplit, *, batch_size: int) -> int:
    """Choose rows per batch for evaluation: many, as results do not depend on it, but not more than fit.

    A training batch fits with its gradients, so it fits here.
    """
    return max(batch_size, min(_EVALUATION_ROWS, _EVALUATION_BYTES // max(split.bytes_per_row, 1)))


def batches(split: Split, *, batch_size: int = 1, device: torch.device | str = "cpu") -> BatchLoader:
    """Give a split's rows in order, for `Trainer.test`, `Trainer.validate` or a loop.

    Args:
        split: For example what `DataSource.read_test` gave.
        batch_size: Rows that are known to fit in memory; batches may be larger.
        device: Where the tensors live.
    """
    tensors = TensorSplit(split, device=device)
    return BatchLoader(tensors, batch_size=evaluation_batch_size(tensors, batch_size=batch_size))


class ArrayDataModule(pl.LightningDataModule):
    """Training batches, shuffled by (seed, epoch), and validation batches in order.

    It has no test batches: see `batches`. Batches are `(inputs, target)` as `DataInfo` describes them. Meant for a
    trial on one device: with several, each would see every row.

    Args:
        data: The two splits.
        batch_size: Rows of a training batch.
        seed: The order of the training rows follows from it and the epoch alone.
        drop_last_single: Leave out a last training batch of one row, which batch norm refuses.
        device: Where the tensors live. On a GPU the whole set lives there, and no batch is transferred.
        augment: Changes each training batch; validation batches never see it.
        num_workers: Processes that select batches ahead; see `BatchLoader`.

    Raises:
        DataError: No training batch is left.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        batch_size: int,
        seed: int,
        drop_last_single: bool = True,
        device: torch.device | str = "cpu",
        augment: Augment | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.info = data.info
        self._train = BatchLoader(
            TensorSplit(data.train, device=device),
            batch_size=batch_size,
            seed=seed,
            drop_last_single=drop_last_single,
            augment=augment,
            num_workers=num_workers,
        )
        if not len(self._train):
            raise DataError(
                f"training needs at least one batch of 2 rows, the training split has {len(data.train)}: add rows",
                field="batch_size",
            )
        validation = TensorSplit(data.validation, device=device)
        self._validation = BatchLoader(
            validation,
            batch_size=evaluation_batch_size(validation, batch_size=batch_size),
            num_workers=num_workers,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return len(self._train)

    def train_dataloader(self) -> BatchLoader:
        """Give the shuffled training batches."""
        return self._train

    def val_dataloader(self) -> BatchLoader:
        """Give the validation batches."""
        return self._validation

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave a batch that is there already: the search for its tensors is 4 % of a small network's training."""
        if isinstance(batch, tuple) and batch[-1].device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
