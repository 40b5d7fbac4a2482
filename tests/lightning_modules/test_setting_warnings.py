"""A setting that is said to have no effect has none, and what harms is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from toy_networks import SERIES, TABLE, TEXT, batch, images

from lightning_modules.data.base import DataInfo
from lightning_modules.families import split_settings
from lightning_modules.losses import make_loss
from lightning_modules.optimizers import make_optimizer
from lightning_modules.schedules import preview

IMAGE = images(2, 9, 9)
NUMBERS = replace(TABLE, cardinalities=())
VALUES = replace(NUMBERS, task="regression", num_outputs=1, class_counts=())


def warnings_of(family: str, info: DataInfo, settings: dict[str, Any]) -> dict[str, str]:
    config, recipe = split_settings(family, settings)
    return {warning.field: warning.text for warning in (*config.warnings(info), *recipe.warnings(info))}


def outputs_and_gradients(family: str, info: DataInfo, settings: dict[str, Any]) -> list[torch.Tensor]:
    """Build, run and differentiate in training, from fixed seeds."""
    torch.manual_seed(0)
    inputs, target = batch(info)
    torch.manual_seed(1)
    network = split_settings(family, settings)[0].build(info)
    logits = network(inputs)
    F.cross_entropy(logits, target).backward()
    return [logits, *(p.grad for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("family", "info", "settings", "changed", "why"),
    [
        ("mlp", TABLE, {"block": "swiglu", "init": "he_normal"}, ("activation", "relu", "tanh"), "its activation"),
        ("mlp", TABLE, {"block": "geglu"}, ("activation", "relu", "elu"), "but for the initial weights"),
        ("mlp", TABLE, {"norm": "none"}, ("norm_position", "before", "after"), "norm none"),
        ("mlp", TABLE, {"norm": "none", "block": "siglu"}, ("norm_position", "before", "after"), "norm none"),
        ("mlp", TABLE, {"depth": 1}, ("taper", True, False), "depth 1"),
        ("mlp", NUMBERS, {}, ("embedding_dim", 2, 9), "without categorical columns"),
        ("cnn", IMAGE, {"norm": "none", "block": "residual"}, ("norm_position", "before", "after"), "norm none"),
        ("cnn", IMAGE, {"kernel_size": 1, "block": "inception"}, ("dilation", 1, 3), "one point has no distance"),
        ("cnn", IMAGE, {"kernel_size": 1, "block": "convnext"}, ("dilation", 1, 3), "one point has no distance"),
        ("cnn", SERIES, {"block": "temporal"}, ("pooling", "max", "stride"), "keeps the length"),
        ("cnn", SERIES, {}, ("head_grid", 1, 5), "pooled to one value"),
        ("rnn", TEXT, {"cell": "gru"}, ("activation", "tanh", "relu"), "whose equations fix it"),
        ("rnn", TEXT, {"embedding_dropout": 0.0}, ("variational", True, False), "no dropout over steps"),
        ("rnn", SERIES, {}, ("embedding_dim", 2, 9), "numbers already"),
    ],
)
def test_a_network_setting_without_effect_changes_nothing(
    family: str, info: DataInfo, settings: dict[str, Any], changed: tuple[str, Any, Any], why: str
) -> None:
    name, *values = changed
    one, other = ({**settings, name: value} for value in values)
    for chosen in (one, other):
        text = warnings_of(family, info, chosen)[name]
        assert text.startswith("has no effect")
        assert why in text
    for left, right in zip(
        outputs_and_gradients(family, info, one), outputs_and_gradients(family, info, other), strict=True
    ):
        torch.testing.assert_close(left, right)  # torch may take another kernel, which rounds otherwise


@pytest.mark.parametrize(
    ("family", "info", "settings", "name"),
    [
        ("mlp", TABLE, {"block": "residual"}, "activation"),
        ("mlp", TABLE, {"norm": "layer"}, "norm_position"),
        ("mlp", TABLE, {"depth": 2}, "taper"),
        ("mlp", TABLE, {}, "embedding_dim"),
        ("cnn", IMAGE, {}, "dilation"),
        ("cnn", IMAGE, {}, "pooling"),
        ("cnn", IMAGE, {}, "head_grid"),
        ("rnn", TEXT, {"cell": "vanilla"}, "activation"),
        ("rnn", TEXT, {"cell": "gru", "head_width": 8}, "activation"),
        ("rnn", TEXT, {}, "variational"),
        ("rnn", TEXT, {}, "embedding_dim"),
        ("mlp", TABLE, {"optimizer": "nesterov"}, "momentum"),
        ("mlp", TABLE, {"schedule": "warmup_linear"}, "warmup_epochs"),
        ("mlp", TABLE, {"loss": "focal"}, "focal_gamma"),
        ("mlp", VALUES, {"loss": "huber"}, "huber_delta"),
        ("mlp", TABLE, {}, "label_smoothing"),
    ],
)
def test_a_setting_with_an_effect_is_not_warned_about(
    family: str, info: DataInfo, settings: dict[str, Any], name: str
) -> None:
    assert name not in warnings_of(family, info, settings)


def test_a_recipes_setting_without_effect_changes_nothing() -> None:
    named = warnings_of("mlp", VALUES, {})
    assert set(named) >= {"momentum", "warmup_epochs", "focal_gamma", "huber_delta", "label_smoothing"}
    unlike = {"momentum": 0.5, "warmup_epochs": 3.0, "focal_gamma": 0.5, "huber_delta": 0.1}
    plain, changed = (split_settings("mlp", settings)[1] for settings in ({}, unlike | {"label_smoothing": 0.2}))
    assert preview(plain, steps_per_epoch=5, max_epochs=6) == preview(changed, steps_per_epoch=5, max_epochs=6)
    values, target = torch.randn(6, 1), torch.randn(6)
    assert torch.equal(make_loss(plain, VALUES)(values, target), make_loss(changed, VALUES)(values, target))
    layers = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)]
    groups = [
        make_optimizer(layer, recipe).param_groups for layer, recipe in zip(layers, (plain, changed), strict=True)
    ]
    assert [{k: v for k, v in group.items() if k != "params"} for group in groups[0]] == [
        {k: v for k, v in group.items() if k != "params"} for group in groups[1]
    ]


@pytest.mark.parametrize(
    ("family", "info", "name", "settings"),
    [
        ("mlp", TABLE, "dropout", {"dropout": 0.5, "norm": "batch"}),
        ("cnn", IMAGE, "dropout2d", {"dropout2d": 0.4, "norm": "batch"}),
    ],
)
def test_much_dropout_beside_batch_norm_is_named_with_the_reason(
    family: str, info: DataInfo, name: str, settings: dict[str, Any]
) -> None:
    assert "shifts the variance that batch norm learns" in warnings_of(family, info, settings)[name]
    assert name not in warnings_of(family, info, settings | {"norm": "layer"})
    assert name not in warnings_of(family, info, settings | {name: 0.3})


def test_the_heads_dropout_of_a_cnn_meets_no_norm() -> None:
    assert "dropout" not in warnings_of("cnn", IMAGE, {"dropout": 0.6, "norm": "batch"})
