"""Whether a cohort is fused: by the multiply-adds of a step, which can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from cohorts import SMALL, how, make_data, members_of

from lightning_modules.data import TrainingData
from lightning_modules.errors import ConfigError
from lightning_modules.fused import choose
from lightning_modules.fused.choice import step_work

IMAGES, SERIES, TABLE = make_data("image"), make_data("series"), make_data("tabular")
PLAIN = {"batch_size": 8, "norm": "none"}


def test_a_dense_networks_work_is_its_weights_for_each_row() -> None:
    inputs = 4 + 2 * 2  # numbers, and two embeddings of two
    assert step_work("mlp", SMALL["mlp"], TABLE) == ("dense", 8 * (inputs * 6 + 6 * 6 + 6 * 3))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("cell", "name", "gates"), [("lstm", "LSTM", 4), ("gru", "GRU", 3), ("vanilla", "vanilla", 1)]
)
def test_a_recurrent_networks_work_is_its_gates_for_each_step_of_each_row(
    cell: str, name: str, gates: int, bidirectional: bool
) -> None:
    """Series of up to 7 steps and 2 channels, 16 hidden units, a bare output for 3 classes."""
    values: dict[str, Any] = {**PLAIN, "width": 16, "depth": 1, "cell": cell, "bidirectional": bidirectional}
    directions = 2 if bidirectional else 1
    steps = 7 * directions * gates * 16 * (2 + 16)
    assert step_work("rnn", values, SERIES) == (name, 8 * (steps + directions * 16 * 3))


def test_a_convolutional_networks_work_is_its_kernels_at_each_position() -> None:
    """3x3 kernels of 1 into 4 channels over 8x8 pixels, and of 4 into 8 over 4x4; a head of 2x2 positions."""
    work = 9 * 4 * 8**2 + 9 * 4 * 8 * 4**2 + 8 * 2**2 * 5 + 5 * 3
    assert step_work("cnn", {**SMALL["cnn"], "norm": "none"}, IMAGES) == ("convolution", 8 * work)


def test_a_small_network_is_fused_and_a_large_one_is_not() -> None:
    """In one family, so that the kind of layer is the same and the limit between them is one."""
    small, large = (choose("cnn", members_of("cnn", {"width": w}), IMAGES, settings=how()) for w in (8, 256))
    assert (small.fused, large.fused) == (True, False)
    assert "multiply-adds a step, mostly convolution: <= " in small.reason
    assert "multiply-adds a step, mostly convolution: > " in large.reason


@pytest.mark.parametrize(("family", "data", "fewest"), [("mlp", TABLE, 3), ("rnn", SERIES, 2), ("cnn", IMAGES, 2)])
def test_small_cohorts_are_fused_from_where_it_pays_on(family: str, data: TrainingData, fewest: int) -> None:
    for count in (2, 3):
        choice = choose(family, [SMALL[family]] * count, data, settings=how())
        assert (choice.fused, choice.fewest) == (count >= fewest, fewest)
    assert choose(family, [SMALL[family]] * 2, data, settings=how(accelerator="cuda")).fused


def test_on_a_gpu_whatever_can_be_is_fused() -> None:
    members = members_of("cnn", {"width": 256, "stages": 2})
    assert choose("cnn", members, IMAGES, settings=how(accelerator="cuda")).fused


def test_what_cannot_be_fused_is_not_chosen() -> None:
    members = members_of("mlp", {})
    assert choose("mlp", members[:1], TABLE, settings=how()).reason == "1 member: there is nothing to share"
    members[1]["width"] = 8
    chosen = choose("mlp", members, TABLE, settings=how(accelerator="cuda"))
    assert not chosen.fused
    assert "have the same width, got 6 and 8" in chosen.reason


def test_a_setting_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match="widht"):
        choose("mlp", [{"widht": 3}] * 2, TABLE, settings=how())
