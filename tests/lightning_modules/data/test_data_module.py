"""Batches: seeded, resumable, trimmed."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.augmentation import make_augmentation
from lightning_modules.data import (
    ArrayDataModule,
    BuiltinSource,
    DataInfo,
    Split,
    TrainingData,
    batches,
    permutation,
)
from lightning_modules.errors import DataError
from lightning_modules.recipe import Recipe


def _split(num_rows: int, *, start: int = 0) -> Split:
    rows = np.arange(start, start + num_rows)
    return Split(inputs={"numeric": rows[:, None].astype(np.float32)}, target=rows % 2)


def _data(num_train: int, num_validation: int = 5) -> TrainingData:
    info = DataInfo(
        kind="tabular",
        task="classification",
        num_outputs=2,
        num_train=num_train,
        num_validation=num_validation,
        num_features=1,
    )
    return TrainingData(info=info, train=_split(num_train), validation=_split(num_validation, start=1000))


class _Recorder(pl.LightningModule):
    """Writes down the rows of each training epoch, and trains a little."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        self.rows: dict[int, list[list[float]]] = {}

    def training_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> Tensor:
        inputs, target = batch
        self.rows.setdefault(self.current_epoch, []).append(inputs["numeric"][:, 0].tolist())
        return nn.functional.cross_entropy(self.layer(inputs["numeric"]), target)

    def validation_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> None:
        self.log("rows", float(len(batch[1])))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def _trainer(folder: Path, max_epochs: int) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_an_epochs_order_is_the_same_after_a_resume_as_in_one_run(tmp_path: Path) -> None:
    straight = _Recorder()
    _trainer(tmp_path, 4).fit(straight, ArrayDataModule(_data(23), batch_size=4, seed=5))
    first, second = _Recorder(), _Recorder()
    trainer = _trainer(tmp_path, 2)
    trainer.fit(first, ArrayDataModule(_data(23), batch_size=4, seed=5))
    trainer.save_checkpoint(tmp_path / "leg.ckpt")
    _trainer(tmp_path, 4).fit(
        second, ArrayDataModule(_data(23), batch_size=4, seed=5), ckpt_path=tmp_path / "leg.ckpt"
    )
    assert sorted(second.rows) == [2, 3]
    assert first.rows | second.rows == straight.rows
    assert len({str(rows) for rows in straight.rows.values()}) == 4


def test_an_epoch_shows_every_row_once_whatever_lightning_did_before(tmp_path: Path) -> None:
    module = _Recorder()
    _trainer(tmp_path, 3).fit(module, ArrayDataModule(_data(22), batch_size=4, seed=0))
    for epoch, rows in module.rows.items():
        flat = [row for batch in rows for row in batch]
        assert sorted(flat) == list(range(22))
        assert flat == permutation(22, seed=0, epoch=epoch).tolist()


def test_batches_never_touch_the_global_random_state() -> None:
    module = ArrayDataModule(_data(20), batch_size=3, seed=0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert len(list(module.train_dataloader())) + len(list(module.val_dataloader())) == 8
    assert torch.equal(before, torch.get_rng_state())


def test_seed_and_epoch_both_change_the_order() -> None:
    orders = {tuple(permutation(50, seed=s, epoch=e).tolist()) for s in range(3) for e in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "drop", "sizes"),
    [
        (9, 4, True, [4, 4]),
        (9, 4, False, [4, 4, 1]),
        (10, 4, True, [4, 4, 2]),
        (3, 1, True, [1, 1, 1]),
        (3, 8, True, [3]),
    ],
)
def test_only_a_last_partial_batch_of_one_row_is_left_out(
    num_rows: int, batch_size: int, drop: bool, sizes: list[int]
) -> None:
    module = ArrayDataModule(_data(num_rows), batch_size=batch_size, seed=0, drop_last_single=drop)
    assert [len(target) for _, target in module.train_dataloader()] == sizes
    assert module.steps_per_epoch == len(sizes)


def test_the_row_left_out_is_another_one_in_each_epoch() -> None:
    loader = ArrayDataModule(_data(9), batch_size=4, seed=0).train_dataloader()
    left_out = set()
    for epoch in range(10):
        loader.set_epoch(epoch)
        seen = {int(row) for inputs, _ in loader for row in inputs["numeric"][:, 0]}
        left_out |= set(range(9)) - seen
    assert len(left_out) > 1


def test_a_training_split_of_one_row_is_refused() -> None:
    with pytest.raises(DataError, match="at least one batch of 2 rows, the training split has 1: add rows"):
        ArrayDataModule(_data(1), batch_size=4, seed=0)


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size >= 1 must hold, got 0"):
        ArrayDataModule(_data(4), batch_size=0, seed=0)


def test_validation_is_in_order_and_whole_whatever_the_batch_size() -> None:
    module = ArrayDataModule(_data(4, num_validation=2500), batch_size=2, seed=0)
    sizes = [len(target) for _, target in module.val_dataloader()]
    rows = torch.cat([inputs["numeric"][:, 0] for inputs, _ in module.val_dataloader()])
    assert sizes == [1024, 1024, 452]
    assert rows.tolist() == list(range(1000, 3500))


def test_large_images_are_evaluated_in_smaller_batches() -> None:
    image = np.zeros((40, 3, 512, 1024), dtype=np.float32)  # 6 MiB each: ten in 64 MiB
    split = Split(inputs={"image": image}, target=np.zeros(40, dtype=np.int64))
    assert batches(split).batch_size == 10
    assert batches(split, batch_size=16).batch_size == 16


def test_read_only_arrays_are_shared_without_a_copy_or_a_warning() -> None:
    data = _data(6)
    for array in (*data.train.inputs.values(), data.train.target):
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = ArrayDataModule(data, batch_size=2, seed=0)
    tensors = module.train_dataloader().split
    assert tensors.inputs["numeric"].data_ptr() == data.train.inputs["numeric"].ctypes.data
    assert tensors.target.data_ptr() == data.train.target.ctypes.data


def test_writing_into_a_batch_never_changes_the_data() -> None:
    data = _data(6)
    module = ArrayDataModule(data, batch_size=2, seed=0)
    before = data.train.inputs["numeric"].copy(), data.validation.inputs["numeric"].copy()
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for inputs, target in loader:
            inputs["numeric"].zero_()
            target.fill_(7)
    np.testing.assert_array_equal(data.train.inputs["numeric"], before[0])
    np.testing.assert_array_equal(data.validation.inputs["numeric"], before[1])
    assert data.train.target.max() == data.validation.target.max() == 1


def _sequences(name: str) -> Split:
    lengths = np.asarray([2, 5, 1, 3, 9])
    values = np.arange(1, 61, dtype=np.float32).reshape(5, 12)
    values[np.arange(12) >= lengths[:, None]] = 0
    steps = values.astype(np.int64) if name == "tokens" else values[:, :, None].repeat(2, axis=2)
    return Split(inputs={name: steps, "lengths": lengths}, target=np.arange(5) % 2)


@pytest.mark.parametrize("name", ["tokens", "series"])
def test_a_batch_of_sequences_is_as_long_as_its_longest(name: str) -> None:
    split = _sequences(name)
    info = DataInfo(kind="text", task="classification", num_outputs=2, num_train=5, num_validation=5)
    data = TrainingData(info=info, train=split, validation=split)
    module = ArrayDataModule(data, batch_size=2, seed=1)
    seen = []
    for inputs, _ in [*module.train_dataloader(), *module.val_dataloader()]:
        longest = int(inputs["lengths"].max())
        assert inputs[name].shape[1] == longest
        seen += [tuple(row[:n].flatten().tolist()) for row, n in zip(inputs[name], inputs["lengths"], strict=True)]
    whole = [
        tuple(row[:n].flatten().tolist())
        for row, n in zip(split.inputs[name], split.inputs["lengths"], strict=True)
    ]
    assert set(seen) == set(whole)  # nothing but padding was cut


def _on_disk(split: Split, folder: Path) -> Split:
    """Write a split's arrays and open them where they lie."""

    def move(name: str, array: Any) -> Any:
        np.save(folder / f"{name}.npy", array)
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    folder.mkdir()
    return Split(
        inputs={name: move(name, array) for name, array in split.inputs.items()},
        target=move("target", split.target),
    )


@pytest.mark.parametrize("augmented", [False, True])
def test_a_set_on_a_disk_streams_through_workers_with_the_same_batches(tmp_path: Path, augmented: bool) -> None:
    data = BuiltinSource(name="digits").read_training()
    streamed = replace(
        data,
        train=_on_disk(data.train, tmp_path / "train"),
        validation=_on_disk(data.validation, tmp_path / "val"),
    )
    assert isinstance(streamed.train.inputs["image"], np.memmap)
    augment = make_augmentation(Recipe(rotation=10.0, mixup=0.2), data, seed=3) if augmented else None
    in_memory = ArrayDataModule(data, batch_size=64, seed=3, augment=augment)
    on_disk = ArrayDataModule(streamed, batch_size=64, seed=3, augment=augment, num_workers=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for epoch in (0, 3):
        for kind in ("train_dataloader", "val_dataloader"):
            loaders = [getattr(module, kind)() for module in (in_memory, on_disk)]
            for loader in loaders:
                loader.set_epoch(epoch)
            for (inputs, target), (other_inputs, other_target) in zip(*loaders, strict=True):
                assert torch.equal(inputs["image"], other_inputs["image"])
                assert torch.equal(target, other_target)
    assert torch.equal(state, torch.get_rng_state())


def test_a_resumed_epoch_is_streamed_in_its_own_order(tmp_path: Path) -> None:
    """Workers begin with the first batch that is asked for, when Lightning has announced the epoch."""
    whole, first, second = _Recorder(), _Recorder(), _Recorder()
    _trainer(tmp_path, 3).fit(whole, ArrayDataModule(_data(23), batch_size=4, seed=5))
    trainer = _trainer(tmp_path, 1)
    trainer.fit(first, ArrayDataModule(_data(23), batch_size=4, seed=5, num_workers=1))
    trainer.save_checkpoint(tmp_path / "leg.ckpt")
    module = ArrayDataModule(_data(23), batch_size=4, seed=5, num_workers=1)
    _trainer(tmp_path, 3).fit(second, module, ckpt_path=tmp_path / "leg.ckpt")
    assert first.rows | second.rows == whole.rows


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_workers_for_a_set_on_a_gpu_are_refused() -> None:
    with pytest.raises(
        DataError, match="workers read arrays of the CPU, got 2 workers for a split on a GPU: take 0"
    ):
        ArrayDataModule(_data(9), batch_size=4, seed=0, device="cuda", num_workers=2)


class _Tester(_Recorder):
    def test_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> None:
        self.rows.setdefault(0, []).append(batch[0]["numeric"][:, 0].tolist())


def test_test_rows_come_only_from_a_split_that_is_handed_over(tmp_path: Path) -> None:
    module, trainer = _Tester(), _trainer(tmp_path, 1)
    with pytest.raises(Exception, match="test_dataloader"):
        trainer.test(module, datamodule=ArrayDataModule(_data(8), batch_size=4, seed=0), verbose=False)
    trainer.test(module, dataloaders=batches(_split(6, start=70)), verbose=False)
    assert module.rows == {0: [[70.0, 71.0, 72.0, 73.0, 74.0, 75.0]]}


@pytest.mark.gpu
def test_a_set_that_lives_on_the_gpu_gives_the_same_batches() -> None:
    data = BuiltinSource(name="digits").read_training()
    on_cpu = ArrayDataModule(data, batch_size=64, seed=3).train_dataloader()
    on_gpu = ArrayDataModule(data, batch_size=64, seed=3, device="cuda").train_dataloader()
    for (inputs, target), (gpu_inputs, gpu_target) in zip(on_cpu, on_gpu, strict=True):
        assert gpu_target.device.type == "cuda"
        assert torch.equal(inputs["image"], gpu_inputs["image"].cpu())
        assert torch.equal(target, gpu_target.cpu())


def test_importing_the_package_leaves_tables_and_sets_for_later() -> None:
    """Every slot imports it; pandas and scikit-learn cost more than the package itself."""
    code = (
        "import sys, pytorch_lightning; before = set(sys.modules); import lightning_modules.data; "
        "print(sorted({'pandas', 'sklearn', 'pyarrow'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
