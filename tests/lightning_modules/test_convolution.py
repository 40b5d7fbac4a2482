import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_modules.blocks.conv_blocks import CONV_BLOCKS, TemporalConv
from lightning_modules.blocks.conv_pooling import HALVINGS, HEAD_POOLINGS
from lightning_modules.blocks.convolution import (
    Conv,
    ConvStyle,
    ConvUnit,
)


def _style(spatial: int = 2, **changes: object) -> ConvStyle:
    settings = {
        "spatial": spatial,
        "kernel_size": 3,
        "activation": "relu",
        "norm": "none",
        "norm_position": "before",
        "dropout2d": 0.0,
    }
    return ConvStyle(**{**settings, **changes})


def _mask(lengths: list[int], num_steps: int) -> torch.Tensor:
    return (torch.arange(num_steps) < torch.tensor(lengths)[:, None])[:, None].float()


@given(
    size=st.integers(1, 12), kernel=st.sampled_from([1, 3, 5, 7]),
    dilation=st.integers(1, 3), spatial=st.sampled_from([1, 2]),
)  # fmt: skip
def test_a_convolution_keeps_the_size_at_stride_1_and_halves_it_rounded_up_at_stride_2(
    size, kernel, dilation, spatial
):
    x = torch.zeros(1, 2, *[size] * spatial)
    same = Conv(2, 3, spatial=spatial, kernel_size=kernel, dilation=dilation)
    half = Conv(2, 3, spatial=spatial, kernel_size=kernel, stride=2)
    assert same(x).shape[2:] == x.shape[2:]
    assert set(half(x).shape[2:]) == {(size + 1) // 2}


def test_a_unit_is_convolution_norm_activation_or_the_norm_last():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5)
    before = ConvUnit(3, 6, _style(norm="batch"))
    after = ConvUnit(3, 6, _style(norm="batch", norm_position="after"))
    assert before.conv.conv.bias is None, "the norm takes the bias away"
    bare = ConvUnit(3, 6, _style(norm="batch", norm_position="after"), activate=False)
    assert bare.conv.conv.bias is None, "with no activation between, here too"
    z = F.conv2d(x, before.conv.conv.weight, padding=1)
    torch.testing.assert_close(before(x), F.relu(F.batch_norm(z, None, None, training=True)))
    z = F.conv2d(x, after.conv.conv.weight, after.conv.conv.bias, padding=1)
    torch.testing.assert_close(after(x), F.batch_norm(F.relu(z), None, None, training=True))


def test_a_temporal_block_never_looks_ahead_and_sees_as_far_back_as_its_dilation_says():
    torch.manual_seed(0)
    stack = nn.Sequential(*(TemporalConv(2, 2, _style(1, dilation=2**i, activation="tanh")) for i in range(3)))
    x = torch.randn(1, 2, 60, requires_grad=True)
    stack(x)[0, :, 40].sum().backward()
    seen = (x.grad[0].abs().sum(0) > 0).nonzero()[:, 0]
    assert seen.max() == 40
    assert seen.min() == 40 - 2 * (3 - 1) * (2**3 - 1)


@pytest.mark.parametrize("name", CONV_BLOCKS)
@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_a_padded_step_changes_no_valid_step_of_any_block(name, norm):
    torch.manual_seed(0)
    block = CONV_BLOCKS[name].factory(4, 16, _style(1, norm=norm, kernel_size=5, activation="silu"))
    lengths = [9, 4, 1]
    mask, x = _mask(lengths, 9), torch.randn(3, 4, 9)
    together = block(x * mask + 1e3 * (1 - mask), mask)
    for row, length in enumerate(lengths):
        alone = block(x[row : row + 1, :, :length], torch.ones(1, 1, length))
        torch.testing.assert_close(together[row : row + 1, :, :length], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "avg", "stride"])
def test_halving_a_series_ignores_padding_and_keeps_the_last_step(pooling):
    torch.manual_seed(0)
    halve = HALVINGS[pooling].factory(4, _style(1))
    lengths = [7, 4, 1]
    mask, x = _mask(lengths, 7), torch.randn(3, 4, 7)
    together, halved = halve(x * mask - 1e3 * (1 - mask), mask)
    assert halved.sum((1, 2)).tolist() == [4, 2, 1]
    for row, length in enumerate(lengths):
        alone, _ = halve(x[row : row + 1, :, :length], None)
        torch.testing.assert_close(together[row : row + 1, :, : (length + 1) // 2], alone)


@pytest.mark.parametrize("pooling", ["max", "avg", "stride"])
def test_halving_an_image_halves_both_sides(pooling):
    x = torch.randn(2, 4, 8, 6)
    y, mask = HALVINGS[pooling].factory(4, _style())(x)
    assert mask is None
    assert y.shape == (2, 4, 4, 3)


@given(height=st.integers(1, 20), width=st.integers(1, 20), side=st.integers(1, 9))
def test_the_head_pools_any_image_to_the_same_grid(height, width, side):
    x = torch.randn(2, 3, height, width)
    for pooling in ("avg", "max"):
        assert HEAD_POOLINGS[pooling].factory(side=side)(x).shape == (2, 3 * min(side, height) * min(side, width))


@pytest.mark.parametrize("name", [n for n in CONV_BLOCKS if n != "temporal"])
@pytest.mark.parametrize("spatial", [1, 2])
def test_every_block_keeps_the_size_and_changes_the_channels(name, spatial):
    block = CONV_BLOCKS[name].factory(
        8, 16, _style(spatial, norm="batch", kernel_size=5, dropout2d=0.2, dilation=2)
    )
    x = torch.randn(2, 8, *[3] * spatial)
    assert block(x).shape == (2, 16, *[3] * spatial)
