"""Sets by name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn import datasets

from lightning_modules.data import BuiltinSource, TrainingData, preprocessor_from_dict
from lightning_modules.errors import DataError


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return BuiltinSource(name="digits").read_training()


@pytest.mark.parametrize(
    ("name", "task", "outputs", "rows", "shape"),
    [
        ("digits", "classification", 10, 1797, (1, 8, 8)),
        ("breast_cancer", "classification", 2, 569, (30,)),
        ("wine", "classification", 3, 178, (13,)),
        ("diabetes", "regression", 1, 442, (10,)),
    ],
)
def test_each_set_is_what_its_description_says(
    name: str, task: str, outputs: int, rows: int, shape: tuple[int, ...]
) -> None:
    source = BuiltinSource(name=name)
    data, test = source.read_training(), source.read_test()
    info, kind = data.info, "image" if name == "digits" else "tabular"
    assert (info.kind, info.task, info.num_outputs) == (kind, task, outputs)
    assert info.num_train + info.num_validation + len(test) == rows
    inputs = data.train.inputs["image" if kind == "image" else "numeric"]
    assert inputs.shape == (info.num_train, *shape)
    assert inputs.dtype == np.float32
    assert data.train.target.dtype == (np.int64 if task == "classification" else np.float32)
    assert info.class_counts == (tuple(np.bincount(data.train.target)) if task == "classification" else ())
    assert len(info.class_names) == (outputs if task == "classification" else 0)


def test_images_are_standardized_with_the_training_splits_own_numbers(digits: TrainingData) -> None:
    image = digits.train.inputs["image"].astype(np.float64)
    assert image.mean() == pytest.approx(0, abs=1e-6)
    assert image.std() == pytest.approx(1, abs=1e-6)
    assert abs(digits.validation.inputs["image"].mean()) > 1e-5


def test_columns_are_standardized_with_the_training_splits_own_numbers() -> None:
    data = BuiltinSource(name="diabetes").read_training()
    numeric = data.train.inputs["numeric"].astype(np.float64)
    np.testing.assert_allclose(numeric.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(numeric.std(axis=0), 1, atol=1e-6)
    assert np.abs(data.validation.inputs["numeric"].mean(axis=0)).max() > 1e-3


def test_a_regression_target_comes_back_in_its_own_unit() -> None:
    source = BuiltinSource(name="diabetes")
    data = source.read_training()
    assert data.train.target.astype(np.float64).mean() == pytest.approx(0, abs=1e-6)
    assert data.train.target.astype(np.float64).std() == pytest.approx(1, abs=1e-6)
    standardized = np.concatenate([s.target for s in (data.train, data.validation, source.read_test())])
    raw = standardized * data.info.target_std + data.info.target_mean
    np.testing.assert_allclose(np.sort(raw), np.sort(datasets.load_diabetes().target), rtol=1e-5)


def test_class_names_keep_the_sets_own_order() -> None:
    assert BuiltinSource(name="breast_cancer").read_training().info.class_names == ("malignant", "benign")


def test_raw_digits_become_the_same_inputs_through_the_stored_document(digits: TrainingData) -> None:
    """What a bundle does: JSON, then raw pixels in either layout."""
    preprocessor = preprocessor_from_dict(json.loads(json.dumps(digits.preprocessing)))
    raw = datasets.load_digits().images
    flat = preprocessor.transform(raw)["image"]
    np.testing.assert_array_equal(flat, preprocessor.transform(raw[:, None].astype(np.uint8))["image"])
    known = {row.tobytes() for row in flat}
    assert all(row.tobytes() in known for row in digits.train.inputs["image"])


def test_the_description_is_json(digits: TrainingData) -> None:
    document = json.loads(json.dumps(dataclasses.asdict(digits.info)))
    assert document["image_shape"] == [1, 8, 8]


def test_the_fingerprint_tells_the_same_data_from_other_data(digits: TrainingData) -> None:
    again = BuiltinSource(name="digits").read_training()
    other = BuiltinSource(name="digits", split_seed=1).read_training()
    assert len(digits.fingerprint) == 64
    assert again.fingerprint == digits.fingerprint
    assert other.fingerprint != digits.fingerprint


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"name: .* digits, .*, diabetes, mnist, fashion_mnist, got 'iris'"):
        BuiltinSource(name="iris")
