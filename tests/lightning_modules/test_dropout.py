import pytest
import torch
from torch.nn import functional as F

from lightning_modules.blocks.dropout import DROPOUTS, VariationalDropout, make_dropout

SHAPES = {"dropout": (40, 50), "dropout1d": (40, 50, 3), "dropout2d": (40, 50, 3, 3), "variational": (40, 6, 50)}


def test_every_dropout_is_tested_and_described():
    assert set(SHAPES) == set(DROPOUTS)
    for entry in DROPOUTS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))


@pytest.mark.parametrize("name", SHAPES)
def test_dropout_drops_its_share_and_scales_the_rest_by_the_inverse(name):
    torch.manual_seed(0)
    y = make_dropout(name, 0.25)(torch.ones(SHAPES[name]))
    assert y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_dropout_is_off_in_evaluation_and_at_rate_0(name):
    x = torch.randn(SHAPES[name])
    assert torch.equal(make_dropout(name, 0.5).eval()(x), x)
    state = torch.get_rng_state()
    assert torch.equal(make_dropout(name, 0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state), "rate 0 must not draw"


def test_dropout2d_drops_whole_feature_maps():
    torch.manual_seed(0)
    y = make_dropout("dropout2d", 0.5)(torch.ones(8, 16, 5, 5))
    means = y.mean((2, 3))
    assert set(means.unique().tolist()) == {0.0, 2.0}


def test_variational_dropout_has_one_mask_for_all_steps_and_another_for_each_row():
    torch.manual_seed(0)
    y = VariationalDropout(0.5)(torch.ones(3, 7, 64))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


def test_the_gradient_passes_through_the_same_mask():
    torch.manual_seed(0)
    x = torch.ones(2, 5, 16, requires_grad=True)
    y = VariationalDropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_plain_dropout_is_torchs():
    x = torch.randn(4, 8)
    torch.manual_seed(1)
    ours = make_dropout("dropout", 0.3)(x)
    torch.manual_seed(1)
    assert torch.equal(ours, F.dropout(x, 0.3, training=True))
