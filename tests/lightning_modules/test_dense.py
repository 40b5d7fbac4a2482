import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_modules.blocks.dense import DENSE_BLOCKS, DenseStyle, GatedFeedForward, PlainDense, ResidualDense
from lightning_modules.blocks.initialization import initialize

BARE = DenseStyle(activation="relu", norm="none", norm_position="before", dropout=0.0)


def _style(**changes: object) -> DenseStyle:
    return DenseStyle(
        **{"activation": "relu", "norm": "layer", "norm_position": "before", "dropout": 0.0, **changes}
    )


def test_a_dense_layer_has_one_weight_for_each_pair_and_one_bias_for_each_output():
    block = PlainDense(7, 5, BARE)
    assert sum(p.numel() for p in block.parameters()) == 7 * 5 + 5
    assert 224 * 224 * 3 * 1000 == 150_528_000
    assert nn.Linear(224 * 224 * 3, 1000, bias=False, device="meta").weight.numel() == 150_528_000


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


def test_the_norm_stands_before_the_activation_by_default_and_behind_it_as_an_option():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    for position in ("before", "after"):
        block = PlainDense(6, 8, _style(norm_position=position))
        z = block.linear(x)
        expected = F.relu(F.layer_norm(z, (8,))) if position == "before" else F.layer_norm(F.relu(z), (8,))
        torch.testing.assert_close(block(x), expected)


def test_a_residual_block_adds_its_input_or_a_projection_of_it():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    same, wider = ResidualDense(6, 6, _style()), ResidualDense(6, 9, _style())
    torch.testing.assert_close(same(x), x + same.branch(x))
    torch.testing.assert_close(wider(x), x @ wider.shortcut.weight.T + wider.branch(x))


@pytest.mark.parametrize(("gate", "act"), [("swiglu", F.silu), ("geglu", F.gelu), ("siglu", torch.sigmoid)])
def test_a_gated_feed_forward_follows_the_formula_with_its_gradients(gate, act):
    torch.manual_seed(0)
    block = GatedFeedForward(6, 6, gate=gate).double()
    x, reference_x = (
        torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    x.requires_grad_()
    reference_x.requires_grad_()
    w1, w2, wo = block.value, block.gate, block.out
    value = reference_x @ w1.weight.T + w1.bias
    expected = (value * act(reference_x @ w2.weight.T + w2.bias)) @ wo.weight.T + wo.bias
    ours = block(x)
    torch.testing.assert_close(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, reference_x.grad)


@pytest.mark.parametrize("expansion", [2, 4])
def test_a_gated_feed_forward_has_as_many_weights_as_a_plain_one(expansion):
    width = 96
    gated = GatedFeedForward(width, width, gate="swiglu", expansion=expansion)
    weights = sum(p.numel() for p in gated.parameters() if p.ndim == 2)
    assert weights == 2 * width * expansion * width


@pytest.mark.parametrize("position", ["before", "after"])
def test_a_gated_block_normalizes_what_enters_or_what_leaves(position):
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    block = DENSE_BLOCKS["swiglu"].factory(6, 6, _style(norm_position=position))
    if position == "before":
        expected = x + block.branch(F.layer_norm(x, (6,)))
    else:
        expected = F.layer_norm(x + block.branch(x), (6,))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", DENSE_BLOCKS)
def test_dropout_acts_inside_every_block_in_training_alone(name):
    torch.manual_seed(0)
    block = DENSE_BLOCKS[name].factory(6, 6, _style(norm="none", dropout=0.5))
    initialize(block, init="auto", activation="relu")
    x = torch.randn(4, 6)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
