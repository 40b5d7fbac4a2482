import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.normalization import NORMS, make_norm, num_groups
from lightning_modules.errors import ConfigError

SHAPES = {0: (6, 8), 1: (6, 8, 5), 2: (6, 8, 5, 4)}
REDUCED = {  # the axes that are averaged over
    ("batch", 0): (0,),
    ("batch", 1): (0, 2),
    ("batch", 2): (0, 2, 3),
    ("layer", 0): (1,),
    ("layer", 1): (1,),
    ("layer", 2): (1,),
    ("instance", 1): (2,),
    ("instance", 2): (2, 3),
}


@pytest.mark.parametrize(("name", "spatial"), REDUCED)
def test_a_norm_gives_mean_0_and_variance_1_along_its_axes_in_training(name, spatial):
    torch.manual_seed(0)
    x = 3 * torch.randn(SHAPES[spatial]) + 5
    y = make_norm(name, 8, spatial=spatial)(x)
    axes = REDUCED[name, spatial]
    torch.testing.assert_close(y.mean(axes), torch.zeros_like(y.mean(axes)), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(axes, correction=0), torch.ones_like(y.mean(axes)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("spatial", [0, 1, 2])
def test_group_norm_gives_mean_0_and_variance_1_in_each_group(spatial):
    torch.manual_seed(0)
    y = make_norm("group", 8, spatial=spatial)(3 * torch.randn(SHAPES[spatial]) + 5)
    groups = y.reshape(6, 2, -1)
    torch.testing.assert_close(groups.mean(2), torch.zeros(6, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(groups.var(2, correction=0), torch.ones(6, 2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("spatial", [0, 1, 2])
def test_rms_norm_divides_by_the_root_mean_square_of_the_channels(spatial):
    torch.manual_seed(0)
    x = torch.randn(SHAPES[spatial]) + 2
    expected = x / x.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(make_norm("rms", 8, spatial=spatial)(x), expected, atol=1e-5, rtol=1e-5)


def test_layer_norm_of_a_map_is_torchs_over_the_channels_of_each_position():
    torch.manual_seed(0)
    norm = make_norm("layer", 8, spatial=2)
    torch.nn.init.normal_(norm.norm.weight)
    x = torch.randn(2, 8, 3, 4)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (8,), norm.norm.weight, norm.norm.bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(x), expected)


def test_batch_norm_uses_batch_statistics_in_training_and_running_ones_in_evaluation():
    torch.manual_seed(0)
    norm = make_norm("batch", 8)
    x = torch.randn(16, 8) * 2 + 1
    torch.testing.assert_close(norm(x), F.batch_norm(x, None, None, training=True))
    running_mean = 0.1 * x.mean(0)
    running_var = 0.9 + 0.1 * x.var(0)
    expected = (x - running_mean) / (running_var + 1e-5).sqrt()
    torch.testing.assert_close(norm.eval()(x), expected)


@pytest.mark.parametrize("spatial", [0, 1, 2])
def test_batch_norm_refuses_a_batch_of_one_row_in_training_alone(spatial):
    norm = make_norm("batch", 8, spatial=spatial)
    one = torch.randn(SHAPES[spatial])[:1]
    with pytest.raises(ConfigError, match="at least 2 rows in a training batch, got 1: raise the batch size"):
        norm(one)
    assert norm.eval()(one).shape == one.shape


def test_instance_norm_refuses_plain_features():
    with pytest.raises(ConfigError, match=r"instance norm needs positions .* take layer or group"):
        make_norm("instance", 8)


def test_none_passes_everything_on():
    x = torch.randn(2, 8)
    assert make_norm("none", 8)(x) is x


@given(st.integers(1, 3000))
def test_the_groups_divide_the_channels_into_parts_of_four_or_more(channels):
    groups = num_groups(channels)
    assert channels % groups == 0
    assert groups == 1 or (groups <= 32 and channels // groups >= 4)


def test_the_usual_widths_get_the_published_number_of_groups():
    assert [num_groups(c) for c in (128, 256, 64, 37, 4)] == [32, 32, 16, 1, 1]


def test_every_norm_is_tested_and_described():
    assert set(NORMS) == {name for name, _ in REDUCED} | {"group", "rms", "none"}
    for entry in NORMS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))


def _standardized(x, axes, eps=1e-5):
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / (((x - mean) ** 2).mean(axes, keepdim=True) + eps).sqrt()


def _by_formula(name, spatial):
    """Write a norm from its formula: gain and bias lie along axis 1."""

    def reference(weights, x):
        shape = (1, 8, *[1] * spatial)
        gain = next(w for n, w in weights.items() if n.endswith("weight")).reshape(shape)
        bias = next((w for n, w in weights.items() if n.endswith("bias")), torch.zeros(8)).reshape(shape)
        if name == "rms":
            eps = torch.finfo(x.dtype).eps  # torch's default
            normed = x / ((x**2).mean(1, keepdim=True) + eps).sqrt()
        elif name == "group":
            normed = _standardized(x.reshape(x.shape[0], num_groups(8), -1), (2,)).reshape(x.shape)
        else:
            normed = _standardized(x, REDUCED[name, spatial])
        return normed * gain + bias

    return reference


@pytest.mark.parametrize(("name", "spatial"), [*REDUCED, *itertools.product(("group", "rms"), (0, 1, 2))])
def test_a_norm_and_its_gradients_follow_the_formula(name, spatial):
    torch.manual_seed(0)
    norm = make_norm(name, 8, spatial=spatial)
    assert_same_with_gradients(norm, _by_formula(name, spatial), 3 * torch.randn(SHAPES[spatial]) + 5)


def test_batch_norm_in_evaluation_is_a_fixed_linear_map_with_its_gradients():
    torch.manual_seed(0)
    norm = make_norm("batch", 8).double()
    for _ in range(3):
        norm(2 * torch.randn(16, 8, dtype=torch.float64) + 1)
    mean, var = norm.layer.running_mean.clone(), norm.layer.running_var.clone()

    def reference(weights, x):
        return weights["layer.weight"] * (x - mean) / (var + 1e-5).sqrt() + weights["layer.bias"]

    assert_same_with_gradients(norm.eval(), reference, torch.randn(6, 8))
    assert torch.equal(norm.layer.running_mean, mean), "evaluation must not move the running statistics"
