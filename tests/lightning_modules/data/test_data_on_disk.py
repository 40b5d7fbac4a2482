"""Sets that no memory holds: written once, read from a disk, and the same to every batch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from lightning_modules.data import ArrayDataModule, DiskArray, ImageFolderSource
from lightning_modules.data.on_disk import chunks, open_array, written_once
from lightning_modules.errors import DataError

TINY_GIB = 1e-6


@pytest.fixture(autouse=True)
def _folder_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_DATA", str(tmp_path / "sets"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "pictures" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def _streamed(folder: Path) -> ImageFolderSource:
    return ImageFolderSource(folder=folder, memory_limit_gib=TINY_GIB)


def test_a_streamed_set_is_the_set_in_memory(pictures: Path) -> None:
    source, in_memory = _streamed(pictures), ImageFolderSource(folder=pictures)
    streamed, held = source.read_training(), in_memory.read_training()
    assert isinstance(streamed.train.inputs["image"], DiskArray)
    assert streamed.fingerprint == held.fingerprint
    assert streamed.info == held.info
    assert streamed.preprocessing == held.preprocessing
    np.testing.assert_array_equal(source.read_test().inputs["image"], in_memory.read_test().inputs["image"])


def test_batches_that_workers_read_ahead_are_those_of_the_set_in_memory(pictures: Path) -> None:
    held, streamed = ImageFolderSource(folder=pictures).read_training(), _streamed(pictures).read_training()
    loaders = [
        ArrayDataModule(data, batch_size=8, seed=3, num_workers=workers).train_dataloader()
        for data, workers in ((held, 0), (streamed, 2))
    ]
    for (inputs, target), (other_inputs, other_target) in zip(*loaders, strict=True):
        assert torch.equal(inputs["image"], other_inputs["image"])
        assert torch.equal(target, other_target)


def test_files_are_written_once_and_again_when_an_image_changes(pictures: Path, tmp_path: Path) -> None:
    def written() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "sets/streamed").iterdir()}

    first = _streamed(pictures).read_training()
    files = written()
    assert _streamed(pictures).read_training().fingerprint == first.fingerprint
    assert written() == files
    for path in pictures.rglob("*.png"):
        Image.fromarray(np.zeros((6, 5, 3), dtype=np.uint8)).save(path)
    changed = _streamed(pictures).read_training()
    assert changed.fingerprint != first.fingerprint
    assert not changed.train.inputs["image"].any()
    assert not [name for name in written() if name.endswith(".part")]


def test_an_image_that_is_broken_leaves_no_half_written_set(pictures: Path, tmp_path: Path) -> None:
    (pictures / "cat/00.png").write_bytes(b"no image")
    (pictures / "cat/02.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"the file must be an image"):
        _streamed(pictures).read_training()
    assert not list((tmp_path / "sets/streamed").glob("*.part"))
    assert not list((tmp_path / "sets/streamed").glob("*.npy"))


def test_to_pickle_a_disk_array_is_to_name_its_file(tmp_path: Path) -> None:
    values = np.arange(300_000, dtype=np.float32).reshape(1000, 300)

    def fill(array: np.ndarray) -> None:
        array[:] = values

    array = written_once(tmp_path / "a.npy", values.shape, fill)
    letter = pickle.dumps(array, protocol=5)
    assert len(letter) < 1000
    again = pickle.loads(letter)
    assert isinstance(again, DiskArray)
    np.testing.assert_array_equal(again, values)
    assert not again.flags.writeable
    for part in (array[10:20], array[np.array([3, 1])], array.reshape(-1), array + 1):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(part, protocol=5)), part)
    assert len(ray.cloudpickle.dumps({"context": array})) < 1000


def test_a_file_that_is_not_on_this_node_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"memory_limit_gib: .*cannot be opened here .*or one node"):
        open_array(str(tmp_path / "absent.npy"))


def test_pieces_cover_all_rows_once() -> None:
    pieces = list(chunks(10, (3, 4096, 1024)))  # 48 MiB a row, so that two do not fit
    assert [(piece.start, piece.stop) for piece in pieces] == [(row, row + 1) for row in range(10)]
    assert [(p.start, p.stop) for p in chunks(10, (3, 2, 2))] == [(0, 10)]
    assert list(chunks(0, (3, 2, 2))) == []


def test_a_folder_that_cannot_be_made_is_told(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").write_text("a file, no folder")
    with pytest.raises(DataError, match=r"memory_limit_gib: .*cannot be used"):
        _streamed(pictures).read_training()
