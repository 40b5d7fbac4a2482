from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from toy_networks import SERIES, TEXT, batch, images

from lightning_modules.blocks.activations import ACTIVATIONS
from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.initialization import INIT_NAMES
from lightning_modules.cnn import CNNConfig
from lightning_modules.errors import ConfigError

SETTINGS = {
    "stages": st.integers(1, 4),
    "blocks_per_stage": st.integers(1, 2),
    "kernel_size": st.sampled_from([1, 3, 7]),
    "dilation": st.integers(1, 3),
    "pooling": st.sampled_from(["max", "avg", "stride"]),
    "head_pooling": st.sampled_from(["avg", "max"]),
    "head_grid": st.integers(1, 4),
    "head_width": st.sampled_from([0, 6]),
    "activation": st.sampled_from(sorted(ACTIVATIONS)),
    "norm": st.sampled_from(["none", "batch", "layer", "group", "instance", "rms"]),
    "norm_position": st.sampled_from(["before", "after"]),
    "dropout": st.floats(0, 0.9),
    "dropout2d": st.just(0.0) | st.floats(0, 0.9),
    "init": st.sampled_from(INIT_NAMES),
}
BLOCKS = sorted(set(CONV_BLOCKS) - {"temporal"})


def _check(config: CNNConfig, info, seed: int) -> None:
    torch.manual_seed(seed)
    network = config.build(info)
    inputs, target = batch(info, rows=4)
    logits = network(inputs)
    assert logits.shape == (4, 3)
    F.cross_entropy(logits, target).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # A dropped map is zero everywhere: a norm multiplies its gradient by 1/sqrt(eps), and a chain of norms by
        # more than float32 holds. That is arithmetic, and a trial's divergence; here the layers are judged.
        assert config.dropout2d > 0 or torch.isfinite(parameter.grad).all(), name
    assert CNNConfig.from_dict(config.to_dict()) == config


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    block=st.sampled_from(BLOCKS),
    settings_=st.fixed_dictionaries(SETTINGS),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(2, 9)),
    seed=st.integers(0, 99),
)
def test_any_valid_config_trains_on_images_of_any_size(block, settings_, shape, seed):
    width = 16 if block == "inception" else 4
    _check(CNNConfig(block=block, width=width, **settings_), images(*shape), seed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    block=st.sampled_from([*BLOCKS, "temporal"]),
    settings_=st.fixed_dictionaries(SETTINGS),
    length=st.integers(2, 17),
    seed=st.integers(0, 99),
)
def test_any_valid_config_trains_on_series_of_any_length(block, settings_, length, seed):
    width = 16 if block == "inception" else 4
    _check(CNNConfig(block=block, width=width, **settings_), replace(SERIES, max_length=length), seed)


def test_stages_double_the_channels_and_halve_the_size_until_the_map_is_small():
    torch.manual_seed(0)
    network = CNNConfig(width=4, stages=5, block="residual", norm="none").build(images(3, 20, 13))
    x = network.stem(torch.randn(1, 3, 20, 13))
    shapes = []
    for stage in network.stages:
        x, _ = stage(x, None)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 10, 6), (8, 5, 3), (16, 5, 3), (32, 5, 3), (64, 5, 3)]


@pytest.mark.parametrize("head_pooling", ["avg", "max"])
def test_global_pooling_takes_images_of_other_sizes_than_those_it_was_built_for(head_pooling):
    network = CNNConfig(width=4, head_grid=1, head_pooling=head_pooling).build(images(1, 28, 28)).eval()
    for size in (7, 33, 64):
        assert network({"image": torch.randn(2, 1, size, size)}).shape == (2, 3)


@pytest.mark.parametrize("pooling", ["max", "avg", "stride"])
@pytest.mark.parametrize("block", [*BLOCKS, "temporal"])
def test_padding_changes_neither_output_nor_gradient_of_a_series(block, pooling):
    torch.manual_seed(0)
    config = CNNConfig(block=block, width=16, stages=2, pooling=pooling, norm="layer", dropout=0.0)
    network = config.build(replace(SERIES, max_length=16))
    lengths = torch.tensor([16, 5, 1])
    mask = (torch.arange(16) < lengths[:, None])[..., None]
    series = torch.randn(3, 16, 2) * mask
    dirty = torch.where(mask, series, torch.tensor(50.0)).requires_grad_()
    clean = series.clone().requires_grad_()
    ours, reference = (network({"series": x, "lengths": lengths}) for x in (dirty, clean))
    torch.testing.assert_close(ours, reference)
    weights = list(network.parameters())
    gradients = [
        torch.autograd.grad(y.square().sum(), [x, *weights]) for y, x in ((ours, dirty), (reference, clean))
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    assert not gradients[0][0][~mask.expand(3, 16, 2)].any()
    alone = network({"series": series[1:2, :5], "lengths": lengths[1:2]})
    torch.testing.assert_close(alone, reference[1:2], rtol=1e-4, atol=1e-5)


def test_batch_norm_in_evaluation_does_not_see_padding_either():
    torch.manual_seed(0)
    network = CNNConfig(block="residual", width=8).build(replace(SERIES, max_length=16))
    inputs, _ = batch(replace(SERIES, max_length=16))
    network(inputs)  # moves the running statistics
    network.eval()
    lengths = torch.tensor([5])
    series = torch.randn(1, 16, 2)
    together = network({"series": series, "lengths": lengths})
    alone = network({"series": series[:, :5], "lengths": lengths})
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_temporal_stack_doubles_its_dilation_and_keeps_its_length():
    network = CNNConfig(block="temporal", width=8, stages=2, blocks_per_stage=2).build(
        replace(SERIES, max_length=64)
    )
    dilations = [block.convs[0].conv.dilation[0] for stage in network.stages for block in stage.blocks]
    assert dilations == [1, 2, 4, 8]
    assert all(stage.downsample is None for stage in network.stages)


def test_a_temporal_dilation_stops_at_the_length_of_the_series():
    network = CNNConfig(block="temporal", width=8, stages=6, blocks_per_stage=16).build(SERIES)
    dilations = [block.convs[0].conv.dilation[0] for stage in network.stages for block in stage.blocks]
    assert dilations == [1, 2] + [4] * 94


def test_the_output_has_no_activation_and_no_dropout():
    network = CNNConfig(dropout=0.9, dropout2d=0.9).build(images(1, 8, 8))
    assert list(network.children())[-1] is network.output
    assert type(network.output) is nn.Linear


@pytest.mark.parametrize(
    ("config", "info", "message"),
    [
        ({"block": "temporal"}, images(1, 8, 8), "block: 'temporal' is a stack for series, got image data"),
        ({"norm": "instance"}, images(3, 1, 1), "norm: instance norm needs more than one position"),
        ({}, TEXT, "the cnn family reads image or series data, got text: take rnn"),
        ({}, replace(images(1, 8, 8), image_shape=None), "data: a network needs the images' size, got none"),
        ({}, replace(SERIES, num_features=0), "data: channels and sides are at least 1"),
    ],
)
def test_data_that_does_not_fit_the_network_is_refused(config, info, message):
    with pytest.raises(ConfigError, match=message):
        CNNConfig(**config).build(info)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: must be odd, got 4: take 3 or 5"),
        ({"block": "inception", "width": 8}, "width: width >= 16 must hold with block inception, got 8"),
        ({"block": "residul"}, "did you mean 'residual'"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(settings_, message):
    with pytest.raises(ConfigError, match=message):
        CNNConfig.from_dict(settings_)


def test_a_deep_plain_stack_of_sigmoids_is_warned_about():
    (warning,) = CNNConfig(activation="sigmoid", stages=2, blocks_per_stage=2).warnings(images(1, 8, 8))
    assert warning.field == "activation"
    assert "sigmoid in 4 hidden layers" in warning.text
