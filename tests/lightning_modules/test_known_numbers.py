"""Numbers that anybody can work out with pencil and paper, or has seen in a textbook."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from toy_networks import batch, images

from lightning_modules.blocks.activations import make_activation
from lightning_modules.blocks.convolution import Conv, output_size
from lightning_modules.blocks.dense import DenseStyle, PlainDense
from lightning_modules.blocks.normalization import make_norm
from lightning_modules.blocks.recurrent import CELLS, RecurrentLayer
from lightning_modules.cnn import CNNConfig
from lightning_modules.data.base import DataInfo
from lightning_modules.losses import make_loss
from lightning_modules.recipe import Recipe

BARE = DenseStyle(activation="relu", norm="none", norm_position="before", dropout=0.0)
CLASSES = DataInfo(
    kind="tabular", task="classification", num_outputs=3, num_train=20, num_validation=5, class_counts=(10, 8, 2)
)
VALUES = DataInfo(kind="tabular", task="regression", num_outputs=1, num_train=20, num_validation=5)


def test_a_dense_layer_has_one_weight_for_each_pair_and_one_bias_for_each_output():
    block = PlainDense(7, 5, BARE)
    assert sum(p.numel() for p in block.parameters()) == 7 * 5 + 5
    assert 224 * 224 * 3 * 1000 == 150_528_000
    assert nn.Linear(224 * 224 * 3, 1000, bias=False, device="meta").weight.numel() == 150_528_000


def test_a_convolution_has_one_kernel_for_each_pair_of_channels():
    conv = Conv(6, 8, spatial=2, kernel_size=3)
    assert sum(p.numel() for p in conv.parameters()) == 8 * 6 * 9 + 8
    assert sum(p.numel() for p in Conv(3, 64, spatial=2, kernel_size=3, bias=False).parameters()) == 1728


@given(
    size=st.integers(1, 20), kernel=st.integers(1, 5), stride=st.integers(1, 3),
    padding=st.integers(0, 3), dilation=st.integers(1, 3),
)  # fmt: skip
def test_the_output_size_follows_the_formula(size, kernel, stride, padding, dilation):
    expected = output_size(size, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
    if dilation == 1:
        assert expected == (size + 2 * padding - kernel) // stride + 1
    if expected < 1:
        return
    conv = nn.Conv1d(1, 1, kernel, stride=stride, padding=padding, dilation=dilation)
    assert conv(torch.zeros(1, 1, size)).shape[2] == expected


def test_two_3x3_see_as_far_as_one_5x5_with_fewer_weights():
    channels = 7
    two = nn.Sequential(*(Conv(channels, channels, spatial=2, kernel_size=3, bias=False) for _ in range(2)))
    one = Conv(channels, channels, spatial=2, kernel_size=5, bias=False)
    assert sum(p.numel() for p in two.parameters()) == 18 * channels**2
    assert sum(p.numel() for p in one.parameters()) == 25 * channels**2
    for network in (two, one):
        x = torch.zeros(1, channels, 11, 11, requires_grad=True)
        network(x)[0, 0, 5, 5].backward()
        seen = x.grad[0].abs().sum(0) > 0
        assert seen[3:8, 3:8].all()
        assert seen.sum() == 25


def test_tanh_is_a_stretched_sigmoid():
    tanh, sigmoid = make_activation("tanh"), make_activation("sigmoid")
    x = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    torch.testing.assert_close(tanh(x), 2 * sigmoid(2 * x) - 1)


def test_ten_sigmoid_layers_pass_almost_no_gradient():
    x = torch.zeros(1, requires_grad=True, dtype=torch.float64)
    F.sigmoid(x).backward()
    assert x.grad.item() == 0.25
    ten = torch.zeros(1, requires_grad=True, dtype=torch.float64)
    y = ten
    for _ in range(10):
        y = make_activation("sigmoid")(y - y.detach())  # each layer at its steepest point, 0
    y.backward()
    assert ten.grad.item() == pytest.approx(9.5e-7, rel=0.01)


def test_one_step_by_hand():
    hidden, output = PlainDense(1, 1, BARE), nn.Linear(1, 1)
    with torch.no_grad():
        for layer, (w, b) in ((hidden.linear, (0.8, 0.1)), (output, (0.6, 0.2))):
            layer.weight.fill_(w)
            layer.bias.fill_(b)
    loss = F.mse_loss(output(hidden(torch.tensor([[0.5]]))), torch.tensor([[1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert output.weight.grad.item() == pytest.approx(-0.5)
    assert hidden.linear.weight.grad.item() == pytest.approx(-0.3)
    torch.optim.SGD([hidden.linear.weight, output.weight], lr=0.1).step()
    assert output.weight.item() == pytest.approx(0.65)
    assert hidden.linear.weight.item() == pytest.approx(0.83)


def test_a_gru_has_three_quarters_of_an_lstms_weights():
    sizes = {n: sum(p.numel() for p in RecurrentLayer(n, 5, 7, bidirectional=True).parameters()) for n in CELLS}
    assert sizes["gru"] * 4 == sizes["lstm"] * 3
    assert sizes["vanilla"] * 3 == sizes["gru"]


def test_layer_norm_on_one_row_equals_itself_in_a_batch_of_64():
    torch.manual_seed(0)
    x, norm = torch.randn(64, 8), make_norm("layer", 8)
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]), rtol=0, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_focal_loss_at_gamma_0_equals_cross_entropy_with_its_gradient(smoothing, weights):
    torch.manual_seed(0)
    logits, target = 2 * torch.randn(30, 3), torch.randint(0, 3, (30,))
    gradients = []
    for loss in ("focal", "cross_entropy"):
        recipe = Recipe(loss=loss, focal_gamma=0.0, label_smoothing=smoothing, class_weights=weights)
        x = logits.clone().requires_grad_()
        value = make_loss(recipe, CLASSES)(x, target)
        value.backward()
        gradients.append((value.detach(), x.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_huber_is_half_the_squared_error_inside_delta_and_linear_outside():
    loss = make_loss(Recipe(loss="huber", huber_delta=2.0), VALUES)
    target = torch.zeros(1)
    assert loss(torch.tensor([[1.5]]), target).item() == pytest.approx(1.5**2 / 2)
    assert loss(torch.tensor([[5.0]]), target).item() == pytest.approx(2 * (5 - 1))


def test_the_default_is_two_blocks_of_32_and_64_channels_with_batch_norm_and_a_head_of_128():
    torch.manual_seed(0)
    network = CNNConfig().build(images(1, 28, 28, num_outputs=10)).eval()
    reference = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    ).eval()  # fmt: skip
    ours, theirs = list(network.parameters()), list(reference.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        other.data.copy_(mine.data)
    inputs, _ = batch(images(1, 28, 28))
    torch.testing.assert_close(network(inputs), reference(inputs["image"]))


def test_the_default_recipe_is_adamw_at_1e_3_with_decay_1e_4_and_cosine():
    recipe = Recipe()
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.schedule) == ("adamw", 1e-3, 1e-4, "cosine")
