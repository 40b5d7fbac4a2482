"""Mistakes that circulate in tutorials and papers' summaries: what is true instead, and what the modules offer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy_networks import TABLE, TEXT, batch, images

from lightning_modules.blocks.convolution import Conv
from lightning_modules.blocks.dropout import DROPOUTS, make_dropout
from lightning_modules.families import FAMILIES
from lightning_modules.losses import make_loss
from lightning_modules.recipe import Recipe

DATA = {"mlp": TABLE, "cnn": images(1, 8, 8), "rnn": TEXT}
NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm
DROPS = nn.Dropout | nn.Dropout1d | nn.Dropout2d


def test_the_checkerboard_example_gives_what_arithmetic_says():
    board = (torch.arange(25).reshape(1, 1, 5, 5) % 2 == 0).float()
    kernel = torch.tensor([[[[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]]])
    assert F.conv2d(board, kernel)[0, 0].tolist() == [[5, 0, 5], [0, 5, 0], [5, 0, 5]]
    conv = Conv(1, 1, spatial=2, kernel_size=3, bias=False)
    conv.conv.weight.data.copy_(kernel)
    assert conv(board)[0, 0, 1:4, 1:4].tolist() == [[5, 0, 5], [0, 5, 0], [5, 0, 5]]


@pytest.mark.parametrize("family", DATA)
def test_a_network_gives_logits_for_the_loss_applies_softmax_itself(family):
    """Softmax before cross entropy would be applied twice: even a sure and right answer would cost something."""
    torch.manual_seed(0)
    info = DATA[family]
    logits = FAMILIES[family].config().build(info)(batch(info, rows=8)[0])
    assert (logits < 0).any()
    assert not torch.allclose(logits.sum(1), torch.ones(8))
    sure = torch.tensor([[30.0, 0.0, 0.0]])
    loss = make_loss(Recipe(), info)
    assert loss(sure, torch.tensor([0])).item() == pytest.approx(0.0, abs=1e-6)
    twice = loss(sure.softmax(1), torch.tensor([0])).item()
    assert twice == pytest.approx(torch.log(torch.tensor(1 + 2 / torch.e)).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("mlp", {}),
        ("mlp", {"block": "residual"}),
        ("cnn", {"dropout2d": 0.2}),
        ("cnn", {"block": "residual", "dropout2d": 0.2}),
        ("rnn", {"norm": "layer", "depth": 2}),
    ],
)
def test_no_block_normalizes_what_it_has_just_dropped(family, changes):
    """A norm behind dropout learns the variance of thinned values, and meets another one in evaluation."""
    info = DATA[family]
    network = FAMILIES[family].config(**changes).build(info)
    order: list[nn.Module] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, *_: order.append(module))
    network(batch(info)[0])
    assert any(isinstance(module, NORMS) for module in order)
    dropping = [i for i, module in enumerate(order) if isinstance(module, DROPS) and module.p > 0]
    assert dropping
    for i in dropping:
        behind = [module for module in order[i + 1 :] if not isinstance(module, nn.Identity | DROPS)]
        assert not isinstance(behind[0], NORMS)


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_scales_in_training_by_1_over_1_minus_p_and_not_in_evaluation_by_1_minus_p(name):
    """The classic form multiplies by 1 - p in evaluation; here its expectation is met in training already."""
    torch.manual_seed(0)
    drop = make_dropout(name, 0.4)
    x = torch.ones(4000, 8, 3, 3)[..., 0] if name != "dropout2d" else torch.ones(4000, 8, 3, 3)
    y = drop(x)
    assert y.max().item() == pytest.approx(1 / 0.6)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(x), x)
