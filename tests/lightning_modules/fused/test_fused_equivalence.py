"""A member of a cohort ends where it ends alone: weights, optimizer, schedule, record and measurements."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations, cycle, product
from typing import Any

import pytest
from cohorts import (
    EPOCHS,
    FIRST_SEED,
    NO_DROPOUT,
    SMALL,
    AloneNoise,
    assert_same,
    how,
    make_data,
    members_of,
    one_by_one,
    together,
)

from lightning_modules.data import TrainingData
from lightning_modules.fused import array
from lightning_modules.optimizers import OPTIMIZERS
from lightning_modules.schedules import SCHEDULES

NORMS = {
    "mlp": ("none", "batch", "layer", "group", "rms"),
    "cnn": ("none", "batch", "layer", "group", "instance", "rms"),
    "rnn": ("none", "layer", "rms"),
}
KIND = {"mlp": "tabular", "cnn": "image", "rnn": "text"}
CLIPS = (0.0, 0.05)


CELLS = tuple(product(SCHEDULES, CLIPS))
EVERYTHING = "FUSED_EVERYTHING"


def cells(family: str, norm: str, optimizer: str) -> tuple[tuple[str, float], ...]:
    """Choose a quarter of the schedules and clips for a norm and an optimizer, other ones for their neighbours.

    With EVERYTHING in the environment it is all of them.
    """
    if os.environ.get(EVERYTHING):
        return CELLS
    return CELLS[(NORMS[family].index(norm) + list(OPTIMIZERS).index(optimizer)) % 4 :: 4]


@pytest.mark.parametrize("family", list(NORMS))
def test_what_is_chosen_has_every_pair_of_norm_optimizer_schedule_and_clip(family: str) -> None:
    axes = (NORMS[family], tuple(OPTIMIZERS), tuple(SCHEDULES), CLIPS)
    rows = {(norm, name, *cell) for norm, name in product(*axes[:2]) for cell in cells(family, norm, name)}
    for i, j in combinations(range(len(axes)), 2):
        assert {(row[i], row[j]) for row in rows} == set(product(axes[i], axes[j]))
    assert {(norm, *cell) for norm, _, *cell in rows} == set(product(NORMS[family], *axes[2:]))


@pytest.mark.parametrize(
    ("family", "norm", "optimizer"),
    [(family, norm, name) for family, norms in NORMS.items() for norm in norms for name in OPTIMIZERS],
)
def test_every_norm_and_optimizer_with_its_schedules_and_clips_trains_as_alone(
    family: str, norm: str, optimizer: str
) -> None:
    """One cohort holds all its schedules and clips: nothing of theirs is in a shape."""
    members = [
        {**values, "schedule": schedule, "clip_norm": clip}
        for values, (schedule, clip) in zip(
            cycle(members_of(family, {"norm": norm, "optimizer": optimizer})),
            cells(family, norm, optimizer),
            strict=False,
        )
    ]
    check(family, members, make_data(KIND[family]))


def check(family: str, members: Sequence[dict[str, Any]], data: TrainingData) -> None:
    settings = how()
    fused = together(family, members, data, settings=settings)
    for number, (values, outcome) in enumerate(zip(members, fused, strict=True)):
        alone = one_by_one(family, values, data, settings=settings, seed=FIRST_SEED + number)
        assert len(alone.measurements) == EPOCHS
        assert_same(alone, outcome)


@pytest.mark.parametrize(
    ("family", "kind", "shape"),
    [
        ("rnn", "text", {"cell": "lstm", "depth": 2}),
        ("rnn", "text", {"cell": "lstm", "bidirectional": False, "pooling": "last"}),
        ("rnn", "text", {"cell": "gru", "depth": 2, "pooling": "mean"}),
        ("rnn", "series", {"cell": "gru", "pooling": "attention", "head_width": 4}),
        ("rnn", "series", {"cell": "vanilla", "activation": "relu", "pooling": "last"}),
        ("rnn", "series", {"cell": "vanilla", "bidirectional": False, "norm": "none"}),
        ("mlp", "image", {"block": "residual", "taper": True}),
        ("mlp", "tabular", {"block": "swiglu", "norm": "layer", "norm_position": "after"}),
        ("cnn", "image", {"block": "residual", "norm": "group", "pooling": "stride"}),
        ("cnn", "image", {"block": "dense", "norm": "layer", "pooling": "avg"}),
        ("cnn", "image", {"block": "inception", "width": 16, "norm": "instance", "head_pooling": "max"}),
        ("cnn", "image", {"block": "inverted", "norm_position": "after"}),
        ("cnn", "image", {"block": "convnext", "norm": "rms"}),
        ("cnn", "series", {"block": "temporal", "norm": "layer"}),
        ("cnn", "series", {"block": "convnext", "norm": "none"}),
    ],
)
def test_every_block_and_cell_trains_as_alone(family: str, kind: str, shape: dict[str, Any]) -> None:
    check(family, members_of(family, shape), make_data(kind))


def test_a_batch_norm_over_series_of_one_length_trains_as_alone() -> None:
    check("cnn", members_of("cnn", {"norm": "batch"}), make_data("series", same_length=True))


@pytest.mark.parametrize(
    "loss",
    [
        {"loss": "focal", "focal_gamma": 1.5},
        {"loss": "focal", "class_weights": "balanced", "focal_gamma": 0.0},
        {"class_weights": {"a": 3.0, "c": 0.5}},
        {"decay_norm_and_bias": True},
    ],
)
def test_every_loss_of_classes_trains_as_alone(loss: dict[str, Any]) -> None:
    check("mlp", members_of("mlp", loss), make_data("tabular"))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_every_loss_of_values_trains_as_alone(loss: str) -> None:
    members = [{**values, "label_smoothing": 0.0} for values in members_of("mlp", {"loss": loss})]
    check("mlp", members, make_data("tabular", task="regression"))


@pytest.mark.parametrize(
    ("family", "kind", "augmentation"),
    [
        ("cnn", "image", {"rotation": 15.0, "cutout": 0.2}),
        ("cnn", "image", {"mixup": 0.4}),
        ("rnn", "text", {"word_dropout": 0.3}),
        ("rnn", "series", {"time_stretch": 0.3, "series_jitter": 0.1}),
    ],
)
def test_a_member_sees_its_own_augmented_batches(family: str, kind: str, augmentation: dict[str, Any]) -> None:
    """One member is augmented, its neighbours are not."""
    data, settings = make_data(kind), how()
    members = members_of(family, {})
    members[1] |= augmentation
    for number, outcome in enumerate(together(family, members, data, settings=settings)):
        assert_same(
            one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number), outcome
        )


@pytest.mark.parametrize(
    ("family", "kind", "rates"),
    [
        ("mlp", "tabular", {"dropout": 0.3, "input_dropout": 0.2}),
        ("cnn", "image", {"dropout": 0.3, "dropout2d": 0.2}),
        ("cnn", "series", {"dropout": 0.3, "dropout2d": 0.2, "norm": "none"}),
        ("rnn", "series", {"dropout": 0.3, "embedding_dropout": 0.2, "depth": 2}),
        ("rnn", "series", {"dropout": 0.3, "embedding_dropout": 0.2, "depth": 2, "variational": True}),
    ],
)
def test_dropout_stands_where_it_stands_alone(
    family: str, kind: str, rates: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch's own draws in the place of ours, each member's rates included, everything is the same."""
    monkeypatch.setattr(array, "Noise", AloneNoise)
    data, settings = make_data(kind, same_length=True), how()
    members = [{**SMALL[family], **rates} for _ in range(3)]
    members[1] |= NO_DROPOUT[family]
    members[2]["dropout"] = 0.6
    for number, outcome in enumerate(together(family, members, data, settings=settings)):
        assert_same(
            one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number), outcome
        )


@pytest.mark.parametrize("family", list(NORMS))
def test_loss_curves_agree_in_single_precision(family: str) -> None:
    data, settings = make_data(KIND[family]), how(precision="32")
    members = members_of(family, {})
    for number, outcome in enumerate(together(family, members, data, settings=settings)):
        alone = one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number)
        for (_, left), (_, right) in zip(alone.measurements, outcome.measurements, strict=True):
            assert list(left) == list(right)
            assert right["train_loss"] == pytest.approx(left["train_loss"], rel=1e-3)
            assert right["val_loss"] == pytest.approx(left["val_loss"], rel=1e-3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("family", list(NORMS))
def test_loss_curves_agree_in_mixed_precision(family: str, device: str) -> None:
    """Sums of 8 bits differ in the second digit; on a GPU the draws do as well, and there are none here."""
    data = make_data(KIND[family])
    settings = how(precision="bf16", accelerator=device)
    members = members_of(family, {})
    for number, outcome in enumerate(together(family, members, data, settings=settings)):
        alone = one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number)
        for (_, left), (_, right) in zip(alone.measurements, outcome.measurements, strict=True):
            assert right["train_loss"] == pytest.approx(left["train_loss"], rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("family", list(NORMS))
def test_loss_curves_on_a_gpu_agree_with_those_of_the_cpu(family: str) -> None:
    data = make_data(KIND[family])
    members = members_of(family, {})
    on_cpu = together(family, members, data, settings=how(precision="32"))
    on_gpu = together(family, members, data, settings=how(precision="32", accelerator="cuda"))
    for left, right in zip(on_cpu, on_gpu, strict=True):
        for (_, expected), (_, found) in zip(left.measurements, right.measurements, strict=True):
            assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("family", "kind"), [("mlp", "tabular"), ("cnn", "image"), ("cnn", "series"), ("rnn", "text")]
)
def test_the_health_of_each_member_is_measured_as_alone(family: str, kind: str) -> None:
    data, settings = make_data(kind), how(health=True)
    shape = {"norm": "layer"}
    members = members_of(family, shape)
    for number, outcome in enumerate(together(family, members, data, settings=settings)):
        alone = one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number)
        assert any(name.startswith("health/") for name in alone.measurements[0][1])
        assert_same(alone, outcome, tolerance=1e-5)  # health is measured in 32 bits
