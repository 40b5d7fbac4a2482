"""A bundle predicts with a spread that says where it errs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightning_modules.data import ArrayDataModule, BuiltinSource
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingSettings, train
from service.errors import InvalidSpecError
from service.export import Bundle, load_bundle
from service.export.bundle import BundleContents, write_bundle

Make = Callable[[float], Bundle]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    source = BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.6, split_seed=0)
    data = source.read_training()

    def make(dropout: float) -> Bundle:
        settings = {"width": 64, "dropout": dropout, "lr": 0.005}
        datamodule = ArrayDataModule(data, batch_size=32, seed=0)
        with seeded(0):
            task = build_task("mlp", settings, data.info, max_epochs=10, steps_per_epoch=len(data.train) // 32)
        how = TrainingSettings(metric="val_loss", mode="min", max_epochs=10)
        outcome = train(task, datamodule, settings=how, seed=0, start_epoch=0, end_epoch=10, checkpoint=None)
        contents = BundleContents(
            family="mlp",
            settings=settings,
            info=data.info,
            preprocessing=data.preprocessing,
            checkpoint=outcome.checkpoint,
            spec={},
            metrics={},
            lineage={},
            environment={},
        )
        folder: Path = tmp_path_factory.mktemp("bundles") / "bundle"
        return load_bundle(write_bundle(contents, folder, replace=False))

    return make


def test_uncertain_digits_are_wrong_more_often(make: Make) -> None:
    bundle, digits = make(0.2), load_digits()
    mean, std = bundle.predict_with_uncertainty(digits.images, num_passes=20)
    assert mean.shape == std.shape == (1797, 10)
    assert np.allclose(mean.sum(axis=1), 1.0, atol=1e-5)
    right = mean.argmax(axis=1) == digits.target
    assert right.mean() > 0.8
    spread = std[np.arange(len(std)), mean.argmax(axis=1)]
    assert spread[~right].mean() > 1.3 * spread[right].mean()


def test_the_same_seed_gives_the_same_answer_and_predict_is_as_before(make: Make) -> None:
    bundle, images = make(0.4), load_digits().images[:20]
    plain = bundle.predict_scores(images)
    first, again = (bundle.predict_with_uncertainty(images, num_passes=5, seed=3) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], bundle.predict_with_uncertainty(images, num_passes=5, seed=4)[0])
    assert np.array_equal(bundle.predict_scores(images), plain)


def test_a_bundle_without_dropout_says_so(make: Make) -> None:
    with pytest.raises(InvalidSpecError, match="train one with a dropout above 0"):
        make(0.0).predict_with_uncertainty(load_digits().images[:2])
