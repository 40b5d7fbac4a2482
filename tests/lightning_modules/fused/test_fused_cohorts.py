"""What a cohort is as a whole: its checkpoints, its ends, who may be in it, and that nobody disturbs another."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cohorts import (
    EPOCHS,
    FIRST_SEED,
    SMALL,
    assert_close,
    assert_same,
    how,
    make_data,
    members_of,
    one_by_one,
    together,
)
from torch import nn

from lightning_modules.blocks.activations import ACTIVATIONS
from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.conv_pooling import HALVINGS, HEAD_POOLINGS
from lightning_modules.blocks.dense import DENSE_BLOCKS
from lightning_modules.blocks.initialization import INIT_NAMES
from lightning_modules.blocks.pooling import POOLINGS
from lightning_modules.blocks.recurrent import CELLS
from lightning_modules.checkpointing import best_state, read_checkpoint
from lightning_modules.cnn import CNNConfig
from lightning_modules.errors import ConfigError
from lightning_modules.families import FAMILIES
from lightning_modules.fused import can_fuse, cohort, fusion_key
from lightning_modules.fused.array import Array
from lightning_modules.fused.noise import Noise
from lightning_modules.fused.stacking import stack
from lightning_modules.losses import LOSSES
from lightning_modules.mlp import MLPConfig
from lightning_modules.optimizers import OPTIMIZERS
from lightning_modules.rnn import RNNConfig
from lightning_modules.transfer import Start

TABLE = make_data("tabular")


@pytest.mark.parametrize(
    ("family", "kind", "optimizer", "schedule"),
    [
        ("mlp", "tabular", "sgd", "constant"),
        ("mlp", "tabular", "momentum", "plateau"),
        ("mlp", "tabular", "adamw", "cosine"),
        ("cnn", "image", "nesterov", "step"),
        ("cnn", "image", "adam", "plateau"),
        ("rnn", "text", "adagrad", "cosine"),
        ("rnn", "text", "rmsprop", "step"),
        ("rnn", "series", "adamw", "constant"),
    ],
)
def test_either_way_of_training_goes_on_from_the_others_checkpoints(
    family: str, kind: str, optimizer: str, schedule: str
) -> None:
    """Three epochs alone; one alone, then two fused; one fused, then two alone."""
    data, settings = make_data(kind), how(max_epochs=EPOCHS)
    members = [{**member, "schedule": schedule} for member in members_of(family, {"optimizer": optimizer})]
    seeds = [FIRST_SEED + number for number in range(len(members))]
    first = together(family, members, data, settings=settings, end_epoch=1)
    alone = [
        one_by_one(family, values, data, settings=settings, seed=seed)
        for values, seed in zip(members, seeds, strict=True)
    ]
    cut = [
        one_by_one(family, values, data, settings=settings, seed=seed, end_epoch=1)
        for values, seed in zip(members, seeds, strict=True)
    ]
    then_fused = together(
        family,
        members,
        data,
        settings=settings,
        start_epoch=1,
        checkpoints=[outcome.checkpoint for outcome in cut],
    )
    for number, whole in enumerate(alone):
        then_alone = one_by_one(
            family,
            members[number],
            data,
            settings=settings,
            seed=seeds[number],
            start_epoch=1,
            checkpoint=first[number].checkpoint,
        )
        for outcome in (then_fused[number], then_alone):
            assert outcome.state == whole.state == "completed"
            assert_close(whole.measurements[1:], outcome.measurements, "measurements", tolerance=1e-8)
            expected, found = read_checkpoint(whole.checkpoint), read_checkpoint(outcome.checkpoint)
            assert_close(expected, found, "checkpoint", tolerance=1e-8)


def test_a_member_out_of_patience_leaves_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate of almost nothing improves on nothing: patience ends that member first."""
    sizes: list[set[int]] = []

    class Watched(Array):
        def run_epoch(self, epoch: int) -> list[int]:
            sizes.append({len(self.members), *(len(parameter) for parameter in self._network.parameters())})
            return super().run_epoch(epoch)

    monkeypatch.setattr(cohort, "Array", Watched)
    settings = how(max_epochs=6, patience=2, min_delta=1e-3)
    members = members_of("mlp", {"norm": "layer"})
    members[1] |= {"lr": 1e-12, "schedule": "constant", "weight_decay": 0.0}
    fused = together("mlp", members, TABLE, settings=settings, end_epoch=6)
    assert len(fused[1].measurements) == 3
    assert max(len(outcome.measurements) for outcome in fused) == 6
    # So many rows has every parameter of the network in each epoch.
    assert sizes == [
        {sum(len(outcome.measurements) > epoch for outcome in fused)} for epoch in range(settings.max_epochs)
    ]
    for number, outcome in enumerate(fused):
        alone = one_by_one("mlp", members[number], TABLE, settings=settings, seed=FIRST_SEED + number, end_epoch=6)
        assert_same(alone, outcome)


@pytest.mark.parametrize(("family", "kind"), [("mlp", "tabular"), ("cnn", "image"), ("rnn", "text")])
def test_a_member_that_diverges_diverges_alone(family: str, kind: str) -> None:
    data, settings = make_data(kind), how()
    members = [{**member, "optimizer": "sgd"} for member in members_of(family, {"norm": "none"})]
    members[1] |= {"lr": 10.0, "weight_decay": 1.0, "momentum": 0.9, "schedule": "constant", "clip_norm": 0.0}
    # A weight that is not a number from the start: whatever is summed up with it is none either.
    broken = together(family, members, data, settings=settings, end_epoch=1)[1].checkpoint
    checkpoints = [
        outcome.checkpoint for outcome in together(family, members, data, settings=settings, end_epoch=1)
    ]
    checkpoints[1] = _poisoned(broken)
    fused = together(family, members, data, settings=settings, start_epoch=1, checkpoints=checkpoints)
    assert [outcome.state for outcome in fused] == ["running", "diverged", "running"]
    assert len(fused[1].measurements) == 1
    assert math.isnan(fused[1].measurements[0][1]["train_loss"])
    for number in (0, 2):
        alone = one_by_one(
            family,
            members[number],
            data,
            settings=settings,
            seed=FIRST_SEED + number,
            start_epoch=1,
            checkpoint=checkpoints[number],
        )
        assert_same(alone, fused[number])


def _poisoned(checkpoint: bytes) -> bytes:
    import io

    content = read_checkpoint(checkpoint)
    content["state_dict"]["network.output.bias"][0] = torch.nan
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("family", "kind"), [("mlp", "tabular"), ("cnn", "image"), ("rnn", "series")])
def test_a_member_does_not_depend_on_who_else_is_there(family: str, kind: str) -> None:
    """With dropout, in any company and in any place of the array."""
    data, settings = make_data(kind), how()
    members = [{**values, "dropout": 0.4} for values in members_of(family, {"norm": "layer"})]
    company = together(family, members, data, settings=settings)
    lonely = together(family, members[2:], data, settings=settings, seeds=[FIRST_SEED + 2])
    swapped = together(
        family, members[::-1], data, settings=settings, seeds=[FIRST_SEED + 2, FIRST_SEED + 1, FIRST_SEED]
    )
    assert_same(company[2], lonely[0])
    assert_same(company[2], swapped[0])


def test_a_cohort_repeats_itself_bit_for_bit() -> None:
    members = [{**values, "dropout": 0.4} for values in members_of("mlp", {})]
    first, second = (together("mlp", members, TABLE, settings=how(precision="32")) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert left.measurements == right.measurements
        assert left.checkpoint == right.checkpoint


def test_the_process_is_afterwards_as_it_was_before() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    together("mlp", members_of("mlp", {}), TABLE, settings=how())
    assert torch.rand(1) == expected


def test_the_best_epoch_is_kept() -> None:
    outcome = together("mlp", members_of("mlp", {}), TABLE, settings=how())[0]
    weights, epoch, value = best_state(outcome.checkpoint)
    assert value == min(metrics["val_loss"] for _, metrics in outcome.measurements)
    assert dict(outcome.measurements)[epoch]["val_loss"] == value
    assert weights["network.output.weight"].shape == (3, 6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 8}, "have the same width, got 6 and 8"),
        ({"batch_size": 16}, "have the same batch_size, got 8 and 16"),
        ({"optimizer": "sgd"}, "have the same optimizer, got adamw and sgd"),
    ],
)
def test_members_of_different_shape_are_refused(changed: dict[str, Any], message: str) -> None:
    members = members_of("mlp", {})
    members[2] |= changed
    reason = can_fuse("mlp", members, TABLE)
    assert reason is not None
    assert message in reason
    with pytest.raises(ConfigError, match=message):
        together("mlp", members, TABLE, settings=how())
    assert fusion_key("mlp", members[0]) == fusion_key("mlp", members[1]) != fusion_key("mlp", members[2])


def test_settings_without_a_shape_may_differ() -> None:
    free = {
        "lr": 0.5,
        "dropout": 0.3,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "init": "lecun_normal",
        "mixup": 0.2,
    }
    assert can_fuse("mlp", [SMALL["mlp"], {**SMALL["mlp"], **free}], TABLE) is None


def test_a_persons_own_module_is_refused() -> None:
    assert "built-in family" in str(can_fuse("my_package:Net", [{}], TABLE))


def test_loaded_weights_that_are_frozen_are_refused() -> None:
    start = Start(weights={})
    assert can_fuse("mlp", [{"freeze_epochs": 0}], TABLE, start=start) is None
    assert "freeze_epochs 2" in str(can_fuse("mlp", [{"freeze_epochs": 2}], TABLE, start=start))


@pytest.mark.parametrize(
    "shape", [{"norm": "batch"}, {"norm": "instance"}, {"norm": "none", "activation": "rrelu"}]
)
def test_layers_that_read_padding_are_refused_on_series_of_several_lengths(shape: dict[str, Any]) -> None:
    assert "padded steps" in str(can_fuse("cnn", [shape], make_data("series")))
    assert can_fuse("cnn", [shape], make_data("series", same_length=True)) is None


# The others work on each value, whatever its shape: mlp has them all.
STACKED_ACTIVATIONS = ("prelu", "rrelu", "swish")

# Every entry of every registry that a network is built from, by family, data and setting.
ENTRIES = [
    *(("mlp", "tabular", {"activation": name}) for name in ACTIVATIONS),
    *(("mlp", "tabular", {"block": name}) for name in DENSE_BLOCKS),
    *(("mlp", "tabular", {"init": name}) for name in INIT_NAMES),
    *(("mlp", "tabular", {"optimizer": name}) for name in OPTIMIZERS),
    *(("cnn", "image", {"activation": name, "norm": "none"}) for name in STACKED_ACTIVATIONS),
    *(("cnn", "image", {"block": name, "width": 16}) for name in CONV_BLOCKS if name != "temporal"),
    ("cnn", "series", {"block": "temporal", "norm": "rms"}),
    *(("cnn", "image", {"pooling": name}) for name in HALVINGS),
    *(("cnn", "image", {"head_pooling": name}) for name in HEAD_POOLINGS),
    *(("rnn", "text", {"cell": name}) for name in CELLS),
    *(("rnn", "text", {"pooling": name}) for name in POOLINGS),
    *(("rnn", "text", {"activation": name, "head_width": 4}) for name in STACKED_ACTIVATIONS),
]


@pytest.mark.parametrize(("family", "kind", "values"), ENTRIES)
def test_every_entry_of_the_registries_trains_fused(family: str, kind: str, values: dict[str, Any]) -> None:
    """One epoch of two members, the same as alone; random slopes aside, which are drawn in another way."""
    data, settings = make_data(kind), how(max_epochs=1)
    members = [{**values_, **values} for values_ in members_of(family, {})[:2]]
    assert can_fuse(family, members, data) is None
    for number, outcome in enumerate(together(family, members, data, settings=settings, end_epoch=1)):
        alone = one_by_one(family, members[number], data, settings=settings, seed=FIRST_SEED + number, end_epoch=1)
        if values.get("activation") == "rrelu":
            assert outcome.measurements[0][1]["train_loss"] == pytest.approx(
                alone.measurements[0][1]["train_loss"], rel=0.1
            )
        else:
            assert_same(alone, outcome)


def test_no_field_of_a_family_is_forgotten() -> None:
    """A new choice of a config has to be added to the entries above, or named here with a reason."""
    tested = {(family, name) for family, _, values in ENTRIES for name in values}
    elsewhere = {"norm", "norm_position", "loss"}  # every norm and loss: test_fused_equivalence
    for family, config in (("mlp", MLPConfig), ("cnn", CNNConfig), ("rnn", RNNConfig)):
        fields = {
            spec.name for spec in config.__dataclass_fields__.values() if spec.metadata.get("type") == "choice"
        }
        missing = {name for name in fields - elsewhere if (family, name) not in tested}
        assert missing <= {"init"}  # draws weights and leaves no trace in the network: mlp shows it
    assert set(LOSSES) == {"cross_entropy", "bce", "focal", "mse", "mae", "huber"}
    assert set(FAMILIES) == {"mlp", "cnn", "rnn"}


def test_a_layer_without_stacked_form_is_named() -> None:
    parts = [nn.Bilinear(2, 2, 2) for _ in range(2)]
    with pytest.raises(ConfigError, match="Bilinear has parameters of its own but no stacked form"):
        stack(parts, Noise([0, 1], hashed=False))
