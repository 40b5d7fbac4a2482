"""Folders of image files: classes, sizes, channels, and files that are broken."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import ImageFolderSource, preprocessor_from_dict
from lightning_modules.data.image_files import read_image
from lightning_modules.errors import DataError


def _pixels(seed: int, height: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _write(
    folder: Path, *, num_images: int = 12, classes: tuple[str, ...] = ("cat", "dog"), seed: int = 0
) -> None:
    for number in range(num_images):
        path = folder / classes[number % len(classes)] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(seed + number)).save(path)


def test_each_folder_is_a_class_and_channels_are_standardized_on_training_images(tmp_path: Path) -> None:
    _write(tmp_path, num_images=40, classes=("10", "9"))
    source = ImageFolderSource(folder=tmp_path)
    data, test = source.read_training(), source.read_test()
    assert data.info.class_names == ("9", "10")  # whole numbers by value
    assert data.info.image_shape == (3, 6, 5)
    assert (len(data.train), len(data.validation), len(test)) == (28, 6, 6)
    image = data.train.inputs["image"].astype(np.float64)
    np.testing.assert_allclose(image.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std(axis=(0, 2, 3)), 1, atol=1e-5)
    assert np.abs(data.validation.inputs["image"].mean(axis=(0, 2, 3))).max() > 1e-4


def test_a_test_folder_is_the_test_split(tmp_path: Path) -> None:
    _write(tmp_path / "train")
    _write(tmp_path / "test", num_images=3, seed=50)
    source = ImageFolderSource(folder=tmp_path / "train", test_folder=tmp_path / "test", validation_fraction=0.25)
    data, test = source.read_training(), source.read_test()
    assert (len(data.train), len(data.validation)) == (9, 3)
    assert [data.info.class_names[code] for code in test.target] == ["cat", "cat", "dog"]
    raw = np.stack([_pixels(seed).transpose(2, 0, 1) for seed in (50, 52, 51)])
    np.testing.assert_array_equal(
        test.inputs["image"], preprocessor_from_dict(data.preprocessing).transform(raw)["image"]
    )


def test_hidden_files_and_files_of_other_kinds_are_left_out_and_deeper_ones_count(tmp_path: Path) -> None:
    _write(tmp_path / "plain")
    expected = ImageFolderSource(folder=tmp_path / "plain").read_training().fingerprint
    _write(tmp_path / "mixed")
    (tmp_path / "mixed/cat/00.png").rename(tmp_path / "mixed/cat/00.PNG")
    (tmp_path / "mixed/cat/deep").mkdir()
    for number in (8, 10):
        (tmp_path / f"mixed/cat/{number:02}.png").rename(tmp_path / f"mixed/cat/deep/{number:02}.png")
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "mixed/cat" / name).write_bytes(b"no image")
    for folder in (".cache", "cat/.thumbnails"):
        (tmp_path / "mixed" / folder).mkdir()
        (tmp_path / "mixed" / folder / "a.png").write_bytes(b"no image")
    (tmp_path / "mixed/readme.png").write_bytes(b"no image")
    assert ImageFolderSource(folder=tmp_path / "mixed").read_training().fingerprint == expected


def test_images_are_resized_and_turned_to_grey(tmp_path: Path) -> None:
    _write(tmp_path)
    Image.fromarray(_pixels(99, 30, 20)).save(tmp_path / "cat/large.jpg")
    Image.fromarray(_pixels(98)[:, :, 0]).save(tmp_path / "dog/grey.png")
    data = ImageFolderSource(folder=tmp_path, image_size=(4, 8), channels=1).read_training()
    assert data.train.inputs["image"].shape == (data.info.num_train, 1, 4, 8)
    with pytest.raises(
        DataError, match=r"^image_size: .*large.jpg has 30 x 20 pixels and the first image 6 x 5: set image_size"
    ):
        ImageFolderSource(folder=tmp_path).read_training()


def test_a_reduced_image_is_the_mean_of_what_it_covers(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    small = read_image(tmp_path / "stripes.png", channels=1, size=(8, 8), field="folder")
    assert small.shape == (1, 8, 8)
    assert np.abs(small.astype(int) - 128).max() <= 20


def test_an_image_is_turned_upright_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    Image.fromarray(_pixels(0)).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png", channels=3, size=None, field="folder")
    np.testing.assert_array_equal(image.transpose(1, 2, 0), np.rot90(_pixels(0), k=-1))


def test_image_files_become_the_same_inputs_through_the_stored_document(tmp_path: Path) -> None:
    _write(tmp_path)
    Image.fromarray(_pixels(99, 30, 20)).save(tmp_path / "cat/large.png")
    data = ImageFolderSource(folder=tmp_path, image_size=(7, 7)).read_training()
    preprocessor = preprocessor_from_dict(json.loads(json.dumps(data.preprocessing)))
    paths = sorted(tmp_path.rglob("*.png"))
    known = {row.tobytes() for row in preprocessor.transform([str(path) for path in paths])["image"]}
    assert len(known) == 13
    assert all(row.tobytes() in known for row in data.train.inputs["image"])
    with pytest.raises(DataError, match=r"^image: the file must be an image, .*nowhere.png: "):
        preprocessor.transform([tmp_path / "nowhere.png"])


def test_files_for_a_set_that_came_as_arrays_of_another_scale_are_refused() -> None:
    from lightning_modules.data import ImagePreprocessor

    preprocessor = ImagePreprocessor.fit(np.ones((2, 4, 4)), scale=16)
    with pytest.raises(DataError, match=r"^image: .* pixels in 0..255, training had 1 and 0..16: give arrays"):
        preprocessor.transform(["a.png"])


@pytest.mark.filterwarnings("ignore:(Corrupt EXIF|Truncated File):UserWarning")
@pytest.mark.parametrize("image_format", ["png", "jpeg", "gif", "bmp", "webp", "tiff"])
def test_an_image_that_is_cut_off_is_named(image_format: str, tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(_pixels(0, 40, 40)).save(whole, format=image_format)
    path = tmp_path / f"cut.{image_format}"
    for length in range(0, len(whole.getvalue()) // 2, 7):
        path.write_bytes(whole.getvalue()[:length])
        with pytest.raises(
            DataError, match=rf"^folder: the file must be an image, .*cut.{image_format}: .*: get it"
        ):
            read_image(path, channels=3, size=None, field="folder")


def test_an_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(
        DataError, match=r"^folder: an image has 8 bits a channel, .*deep.png is of mode 'I;16': save"
    ):
        read_image(tmp_path / "deep.png", channels=1, size=None, field="folder")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "absent": ({"folder": "nowhere"}, "folder: the folder must exist, .*nowhere does not"),
    "no classes": ({"folder": "flat"}, r"folder: a folder of images has a folder for each class, .*flat/CLASS/"),
    "an empty class": (
        {"folder": "empty"},
        r"folder: a class has at least one image .*\.png.*empty/bird has none",
    ),
    "one class": ({"folder": "single"}, "folder: classification needs at least 2 classes, got 'cat'"),
    "a rare class": (
        {"folder": "rare"},
        "folder: every class needs at least 3 examples, .* got 1 of class 'bird'",
    ),
    "an unseen class": (
        {"test_folder": "rare"},
        "test_folder: the test split must hold classes of the training split only, got 1 rows of 'bird'",
    ),
    "an absent test": ({"test_folder": "nowhere"}, "test_folder: the folder must exist"),
    "no memory": (
        {"memory_limit_gib": 0.0},
        "memory_limit_gib: memory_limit_gib > 0 must hold, got 0.0",
    ),
    "channels": ({"channels": 2}, "channels: channels are 1 or 3, got 2"),
    "size": ({"image_size": (0, 4)}, r"image_size: image_size >= 1 must hold, got \(0, 4\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_answered_with_rule_value_and_remedy(case: str, tmp_path: Path) -> None:
    fields, message = WRONG[case]
    _write(tmp_path / "good")
    _write(tmp_path / "empty")
    (tmp_path / "empty/bird").mkdir()
    _write(tmp_path / "rare")
    (tmp_path / "rare/bird").mkdir()
    Image.fromarray(_pixels(0)).save(tmp_path / "rare/bird/0.png")
    _write(tmp_path / "single", classes=("cat",))
    (tmp_path / "flat").mkdir()
    Image.fromarray(_pixels(0)).save(tmp_path / "flat/0.png")
    paths = {name: tmp_path / value for name, value in fields.items() if "folder" in name}
    with pytest.raises(DataError, match=f"^{message}"):
        ImageFolderSource(**{"folder": tmp_path / "good"} | fields | paths).read_training()
