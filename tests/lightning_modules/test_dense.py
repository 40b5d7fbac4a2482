import pytest
import torch
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.dense import DENSE_BLOCKS, DenseStyle, GatedFeedForward, PlainDense
from lightning_modules.blocks.initialization import initialize

BARE = DenseStyle(activation="relu", norm="none", norm_position="before", dropout=0.0)


def _style(**changes: object) -> DenseStyle:
    return DenseStyle(
        **{"activation": "relu", "norm": "layer", "norm_position": "before", "dropout": 0.0, **changes}
    )


GATES = {"swiglu": F.silu, "geglu": F.gelu, "siglu": torch.sigmoid}


def _linear(weights, name, x):
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def _feed_forward(weights, prefix, act, x):
    value, gate = _linear(weights, f"{prefix}value", x), _linear(weights, f"{prefix}gate", x)
    return _linear(weights, f"{prefix}out", value * act(gate))


@pytest.mark.parametrize("gate", GATES)
def test_a_gated_feed_forward_and_its_gradients_follow_the_formula(gate):
    torch.manual_seed(0)
    block = GatedFeedForward(6, 9, gate=gate)
    assert_same_with_gradients(block, lambda w, x: _feed_forward(w, "", GATES[gate], x), torch.randn(4, 6))


def _norm(weights, name, x):
    return F.layer_norm(x, x.shape[1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def _by_hand(name, position, changes_width):
    """Write a block with layer norm and relu from its formula."""

    def plain(w, x, prefix=""):
        z = _linear(w, f"{prefix}linear", x)
        norm = f"{prefix}norm"
        return torch.relu(_norm(w, norm, z)) if position == "before" else _norm(w, norm, torch.relu(z))

    def shortcut(w, x):
        return _linear(w, "shortcut", x) if changes_width else x

    def gated(w, x):
        entering = _norm(w, "norm", x) if position == "before" else x
        y = shortcut(w, x) + _feed_forward(w, "branch.", GATES[name], entering)
        return y if position == "before" else _norm(w, "norm", y)

    if name == "plain":
        return plain
    return gated if name in GATES else lambda w, x: shortcut(w, x) + plain(w, x, "branch.")


@pytest.mark.parametrize("features_out", [6, 9])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("name", DENSE_BLOCKS)
def test_a_dense_block_and_its_gradients_equal_one_built_by_hand(name, position, features_out):
    torch.manual_seed(0)
    block = DENSE_BLOCKS[name].factory(6, features_out, _style(norm_position=position))
    assert_same_with_gradients(block, _by_hand(name, position, features_out != 6), torch.randn(4, 6))


def test_a_plain_block_has_no_bias_that_batch_norm_takes_away():
    """It would hold rounding alone, in steps as large as the optimizer makes of it."""
    assert PlainDense(6, 9, _style(norm="batch")).linear.bias is None
    assert PlainDense(6, 9, _style(norm="batch", norm_position="after")).linear.bias is not None
    assert PlainDense(6, 9, _style(norm="layer")).linear.bias is not None


@pytest.mark.parametrize("expansion", [2, 4])
def test_a_gated_feed_forward_has_as_many_weights_as_a_plain_one(expansion):
    width = 96
    gated = GatedFeedForward(width, width, gate="swiglu", expansion=expansion)
    weights = sum(p.numel() for p in gated.parameters() if p.ndim == 2)
    assert weights == 2 * width * expansion * width


@pytest.mark.parametrize("name", DENSE_BLOCKS)
def test_dropout_acts_inside_every_block_in_training_alone(name):
    torch.manual_seed(0)
    block = DENSE_BLOCKS[name].factory(6, 6, _style(norm="none", dropout=0.5))
    initialize(block, init="auto", activation="relu")
    x = torch.randn(4, 6)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
