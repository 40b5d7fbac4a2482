"""Folders in MNIST's format."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data import IdxSource, ImagePreprocessor, preprocessor_from_dict, read_idx
from lightning_modules.errors import DataError

DATA = Path(os.environ.get("TUNELADDER_DATA", Path(__file__).parents[3] / "../shared/data"))


def _idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def _images(num_images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_images, 5, 4), dtype=np.uint8)


def _write_pair(folder: Path, prefix: str, num_images: int, *, suffix: str = "", seed: int = 0) -> None:
    pack = gzip.compress if suffix else bytes
    (folder / f"{prefix}images-idx3-ubyte{suffix}").write_bytes(pack(_idx(_images(num_images, seed))))
    (folder / f"{prefix}labels-idx1-ubyte{suffix}").write_bytes(pack(_idx(np.arange(num_images) % 12)))


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="no mnist folder: set TUNELADDER_DATA")
def test_mnists_own_files_are_split_three_ways() -> None:
    source = IdxSource(folder=DATA / "mnist", validation_fraction=0.1, test_fraction=0.1)
    data, test = source.read_training(), source.read_test()
    assert (len(data.train), len(data.validation), len(test)) == (8_000, 1_000, 1_000)
    assert data.info.image_shape == (1, 28, 28)
    assert data.info.class_names == tuple("0123456789")
    totals = sum(np.bincount(split.target) for split in (data.train, data.validation, test))
    assert totals.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    rows = [{image.tobytes() for image in s.inputs["image"]} for s in (data.train, data.validation, test)]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows)) == 10_000


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_t10k_pair_is_the_test_split(tmp_path: Path, suffix: str) -> None:
    _write_pair(tmp_path, "train-", 120, suffix=suffix)
    _write_pair(tmp_path, "t10k-", 24, suffix=suffix, seed=1)
    source = IdxSource(folder=tmp_path, validation_fraction=0.25)
    data, test = source.read_training(), source.read_test()
    assert (len(data.train), len(data.validation), len(test)) == (90, 30, 24)
    assert test.target.tolist() == [i % 12 for i in range(24)]  # whole numbers in order, 2 before 10
    preprocessor = preprocessor_from_dict(data.preprocessing)
    np.testing.assert_array_equal(test.inputs["image"], preprocessor.transform(_images(24, 1))["image"])


def test_a_single_pair_is_split_three_ways_gzipped_or_not(tmp_path: Path) -> None:
    fingerprints = set()
    for suffix in ("", ".gz"):
        folder = tmp_path / f"folder{suffix}"
        folder.mkdir()
        _write_pair(folder, "", 120, suffix=suffix)
        (folder / "README").write_text("not an image")
        source = IdxSource(folder=folder)
        data = source.read_training()
        fingerprints.add(data.fingerprint)
        assert (len(data.train), len(data.validation), len(source.read_test())) == (84, 18, 18)
    assert len(fingerprints) == 1


def test_an_idx_file_holds_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(_idx(_images(7)))
    np.testing.assert_array_equal(read_idx(tmp_path / "images", num_axes=3), _images(7))


def test_channels_are_standardized_on_their_own_and_constant_ones_become_zero() -> None:
    images = np.random.default_rng(0).integers(0, 200, (50, 3, 4, 4)).astype(np.uint8)
    images[:, 1] = 77
    preprocessor = ImagePreprocessor.fit(images, scale=255)
    image = preprocessor.transform(images)["image"].astype(np.float64)
    np.testing.assert_allclose(image.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std(axis=(0, 2, 3)), [1, 0, 1], atol=1e-5)
    reference = (images / 255 - (images[:, 0] / 255).mean()) / (images[:, 0] / 255).std()
    np.testing.assert_allclose(image[:, 0], reference[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((2, 4, 5)), r"training shape \(C, H, W\) = \(1, 5, 4\), got \(1, 4, 5\): resize"),
        ([np.zeros((5, 4)), np.zeros((3, 4))], r"must have one shape, got \(3, 4\), \(5, 4\): resize"),
        (np.zeros((5, 4)), r"numbers of shape \(N, H, W\) .* got float64 of shape \(5, 4\): for a single image"),
        (np.full((1, 5, 4), -0.5), r"pixels must lie in 0..255 as in training, got -0.5..-0.5"),
        (np.full((1, 5, 4), np.nan), r"pixels must lie in 0..255 as in training, got nan"),
    ],
)
def test_images_that_do_not_fit_are_refused(raw: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImagePreprocessor.fit(_images(9), scale=255).transform(raw)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder: the folder must exist, .*nowhere does not"):
        IdxSource(folder=tmp_path / "nowhere").read_training()
    with pytest.raises(DataError, match=r"folder: a folder needs \*images-idx3-ubyte and"):
        IdxSource(folder=tmp_path).read_training()
    _write_pair(tmp_path, "train-", 24)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has train-images-idx3-ubyte without its labels: add the file"):
        IdxSource(folder=tmp_path).read_training()


def test_pairs_of_several_sets_are_refused(tmp_path: Path) -> None:
    for prefix in ("train-", "t10k-", "extra-"):
        _write_pair(tmp_path, prefix, 24)
    with pytest.raises(DataError, match="has extra, t10k, train: keep the files of one set"):
        IdxSource(folder=tmp_path).read_training()


BROKEN = {
    "truncated": (lambda good: good[:-5], "must hold 480 values as its header says .24 x 5 x 4., it has 475"),
    "too long": (lambda good: good + b"x", "must hold 480 values .* it has more"),
    "short header": (lambda good: good[:9], "a header of 16 bytes, it has 9"),
    "labels for images": (lambda good: _idx(np.arange(24)), "magic number 0x00000803 .* got 0x00000801"),
    "gzipped without its suffix": (
        gzip.compress,
        "magic number 0x00000803 .* got 0x1f8b0800: .* gzipped if and only",
    ),
    "empty": (lambda good: b"", "must hold data, .* is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_image_file_is_refused(case: str, tmp_path: Path) -> None:
    damage, message = BROKEN[case]
    _write_pair(tmp_path, "train-", 24)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"folder: .*{message}"):
        IdxSource(folder=tmp_path).read_training()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:30] + b"\xff" * 20 + data[50:], lambda _: b"no gzip"]
)
def test_a_corrupted_gzip_file_is_refused(damage: object, tmp_path: Path) -> None:
    _write_pair(tmp_path, "train-", 24, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"folder: the gzip file .*ubyte.gz is corrupted: .*: get it again"):
        IdxSource(folder=tmp_path).read_training()


def test_images_and_labels_of_different_counts_are_refused(tmp_path: Path) -> None:
    _write_pair(tmp_path, "", 24)
    (tmp_path / "labels-idx1-ubyte").write_bytes(_idx(np.arange(23)))
    with pytest.raises(DataError, match="images-idx3-ubyte has 24 images and labels-idx1-ubyte 23 labels"):
        IdxSource(folder=tmp_path).read_training()
