"""Each convolutional block against one that is built by hand from copied weights: outputs and all gradients."""

import pytest
import torch
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.conv_pooling import HALVINGS, HEAD_POOLINGS
from lightning_modules.blocks.convolution import ConvStyle, SqueezeExcite
from lightning_modules.cnn import Stage

CONV = {1: F.conv1d, 2: F.conv2d}
SHAPES = {1: (4, 8, 7), 2: (4, 8, 6, 5)}


def _style(spatial, *, norm="batch", activation="silu", position="before", **changes):
    return ConvStyle(
        spatial=spatial,
        kernel_size=3,
        activation=activation,
        norm=norm,
        norm_position=position,
        dropout2d=0.0,
        **changes,
    )


def _conv(w, name, x, *, dilation=1, groups=1, stride=1):
    kernel = w[f"{name}.conv.weight"]
    padding = dilation * (kernel.shape[2] - 1) // 2
    bias = w.get(f"{name}.conv.bias")
    return CONV[x.ndim - 2](x, kernel, bias, padding=padding, dilation=dilation, groups=groups, stride=stride)


def _norm(w, name, x):
    """Batch norm in training, from its formula."""
    axes = [0, *range(2, x.ndim)]
    mean = x.mean(axes, keepdim=True)
    var = ((x - mean) ** 2).mean(axes, keepdim=True)
    shape = (1, -1, *[1] * (x.ndim - 2))
    gain, bias = w[f"{name}.layer.weight"].reshape(shape), w[f"{name}.layer.bias"].reshape(shape)
    return gain * (x - mean) / (var + 1e-5).sqrt() + bias


def _act(x):
    return x / (1 + torch.exp(-x))  # silu


def _unit(w, name, x, *, activate=True, position="before", **options):
    z = _conv(w, f"{name}.conv", x, **options)
    if not activate:
        return _norm(w, f"{name}.norm", z)
    return _act(_norm(w, f"{name}.norm", z)) if position == "before" else _norm(w, f"{name}.norm", _act(z))


def _plain(w, x):
    return _unit(w, "unit", x)


def _residual(w, x):
    branch = _unit(w, "second", _unit(w, "first", x), activate=False)
    shortcut = _unit(w, "shortcut", x, activate=False) if "shortcut.conv.conv.weight" in w else x
    return _act(shortcut + branch)


def _dense(w, x):
    for i in range(3):
        x = torch.cat([x, _unit(w, f"layers.{i}", x)], dim=1)
    return _unit(w, "transition", x)


def _inception(w, x):
    pool = F.max_pool2d if x.ndim == 4 else F.max_pool1d
    narrow = _unit(w, "narrow.1", _unit(w, "narrow.0", x))
    wide = _unit(w, "wide.2", _unit(w, "wide.1", _unit(w, "wide.0", x)))
    branches = [_unit(w, "point", x), narrow, wide, _unit(w, "pooled", pool(x, 3, 1, 1))]
    return torch.cat(branches, dim=1)


def _excite(w, x, prefix="excite."):
    mean = x.flatten(2).mean(2)
    hidden = _act(mean @ w[f"{prefix}squeeze.weight"].T + w[f"{prefix}squeeze.bias"])
    gate = 1 / (1 + torch.exp(-(hidden @ w[f"{prefix}excite.weight"].T + w[f"{prefix}excite.bias"])))
    return x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2))


def _inverted(w, x):
    wide = _unit(w, "expand", x)
    wide = _excite(w, _unit(w, "depthwise", wide, groups=4 * x.shape[1]))
    narrow = _unit(w, "project", wide, activate=False)
    return x + narrow if narrow.shape == x.shape else narrow


def _convnext(w, x):
    z = _norm(w, "norm", _conv(w, "depthwise", x, groups=x.shape[1]))
    z = _conv(w, "narrow", _act(_conv(w, "widen", z)))
    shortcut = _conv(w, "shortcut", x) if "shortcut.conv.weight" in w else x
    return shortcut + w["scale"].reshape(1, -1, *[1] * (x.ndim - 2)) * z


REFERENCES = {
    "plain": _plain,
    "residual": _residual,
    "dense": _dense,
    "inception": _inception,
    "inverted": _inverted,
    "convnext": _convnext,
}


@pytest.mark.parametrize("channels_out", [8, 12])
@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_block_and_its_gradients_equal_one_built_by_hand(name, spatial, channels_out):
    """With batch norm; at equal channels the shortcut is the identity, else a 1x1 convolution."""
    torch.manual_seed(0)
    block = CONV_BLOCKS[name].factory(8, channels_out, _style(spatial))
    assert_same_with_gradients(block, REFERENCES[name], torch.randn(SHAPES[spatial]))


@pytest.mark.parametrize("spatial", [1, 2])
def test_a_residual_stage_and_its_gradients_equal_one_built_by_hand(spatial):
    """Two blocks, the first of which widens, and a halving."""
    torch.manual_seed(0)
    style = _style(spatial)
    residual, halving = CONV_BLOCKS["residual"].factory, HALVINGS["max"].factory
    stage = Stage([residual(8, 12, style), residual(12, 12, style)], halving(12, style))

    def reference(w, x):
        for i in range(2):
            prefix = f"blocks.{i}."
            x = _residual({n.removeprefix(prefix): p for n, p in w.items() if n.startswith(prefix)}, x)
        return F.max_pool2d(x, 2) if spatial == 2 else F.max_pool1d(x, 2, ceil_mode=True)

    x = torch.randn(SHAPES[spatial])
    assert_same_with_gradients(stage, reference, x, call=lambda x: stage(x, None)[0])


def test_every_block_has_a_reference():
    assert set(CONV_BLOCKS) == {*REFERENCES, "temporal"}


def test_the_published_convnext_block_has_7x7_kernels_layer_norm_and_gelu():
    torch.manual_seed(0)
    style = ConvStyle(
        spatial=2, kernel_size=7, activation="gelu", norm="layer", norm_position="before", dropout2d=0
    )

    def published(w, x):
        z = F.conv2d(x, w["depthwise.conv.weight"], w["depthwise.conv.bias"], padding=3, groups=8)
        z = z.permute(0, 2, 3, 1)  # channels last: 1x1 convolutions are linear layers
        z = F.layer_norm(z, (8,), w["norm.norm.weight"], w["norm.norm.bias"])
        z = F.gelu(F.linear(z, w["widen.conv.weight"][:, :, 0, 0], w["widen.conv.bias"]))
        z = F.linear(z, w["narrow.conv.weight"][:, :, 0, 0], w["narrow.conv.bias"])
        return x + (w["scale"] * z).permute(0, 3, 1, 2)

    assert_same_with_gradients(CONV_BLOCKS["convnext"].factory(8, 8, style), published, torch.randn(2, 8, 9, 9))


@pytest.mark.parametrize("spatial", [1, 2])
def test_a_dilated_unit_with_the_norm_last_and_its_gradients_equal_one_built_by_hand(spatial):
    torch.manual_seed(0)
    block = CONV_BLOCKS["plain"].factory(8, 6, _style(spatial, position="after", dilation=2))

    def reference(w, x):
        return _unit(w, "unit", x, position="after", dilation=2)

    assert_same_with_gradients(block, reference, torch.randn(SHAPES[spatial]))


@pytest.mark.parametrize("spatial", [1, 2])
def test_squeeze_excite_and_its_gradients_equal_one_built_by_hand(spatial):
    torch.manual_seed(0)
    block = SqueezeExcite(8, hidden=2, spatial=spatial, activation="silu")
    assert_same_with_gradients(block, lambda w, x: _excite(w, x, prefix=""), torch.randn(SHAPES[spatial]))


def _causal(kernel, bias, x, dilation):
    """Convolve step by step: the last point of the kernel is the present."""
    steps = []
    for t in range(x.shape[2]):
        total = bias.expand(x.shape[0], -1)
        for k in range(kernel.shape[2]):
            past = t - dilation * (kernel.shape[2] - 1 - k)
            if past >= 0:
                total = total + x[:, :, past] @ kernel[:, :, k].T
        steps.append(total)
    return torch.stack(steps, dim=2)


@pytest.mark.parametrize("channels_out", [8, 5])
@pytest.mark.parametrize("position", ["before", "after"])
def test_a_temporal_block_and_its_gradients_equal_a_loop_over_steps(position, channels_out):
    torch.manual_seed(0)
    block = CONV_BLOCKS["temporal"].factory(8, channels_out, _style(1, position=position, dilation=2))

    def reference(w, x):
        h = x
        for i in range(2):
            h = _causal(w[f"convs.{i}.conv.weight"], w[f"convs.{i}.conv.bias"], h, 2)
            h = _act(_norm(w, f"norms.{i}", h)) if position == "before" else _norm(w, f"norms.{i}", _act(h))
        return _act((_conv(w, "shortcut", x) if channels_out != 8 else x) + h)

    assert_same_with_gradients(block, reference, torch.randn(4, 8, 9))


@pytest.mark.parametrize("spatial", [1, 2])
@pytest.mark.parametrize("pooling", HALVINGS)
def test_halving_and_its_gradients_equal_torchs(pooling, spatial):
    torch.manual_seed(0)
    halve = HALVINGS[pooling].factory(8, _style(spatial))
    pools = {"max": {1: F.max_pool1d, 2: F.max_pool2d}, "avg": {1: F.avg_pool1d, 2: F.avg_pool2d}}

    def reference(w, x):
        if pooling == "stride":
            return _unit(w, "unit", x, stride=2)
        return pools[pooling][spatial](x, 2, ceil_mode=spatial == 1)

    assert_same_with_gradients(halve, reference, torch.randn(SHAPES[spatial]), call=lambda x: halve(x)[0])


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("pooling", HEAD_POOLINGS)
def test_the_head_and_its_gradients_equal_torchs_adaptive_pooling(pooling, side):
    torch.manual_seed(0)
    adaptive = {"avg": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}[pooling]
    head = HEAD_POOLINGS[pooling].factory(side=side)
    assert_same_with_gradients(head, lambda w, x: adaptive(x, side).flatten(1), torch.randn(4, 8, 6, 9))
