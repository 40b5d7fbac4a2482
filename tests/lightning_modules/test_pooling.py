import pytest
import torch

from lightning_modules.blocks.pooling import POOLINGS, AttentionPool, make_pooling

LENGTHS = torch.tensor([5, 1, 3])


def _steps() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 5, 4)


def _attend(rows: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    weights = torch.exp(rows @ query / 2)  # sqrt(4) features
    return (weights[:, None] * rows).sum(0) / weights.sum()


QUERY = torch.tensor([1.0, -2.0, 0.5, 3.0])
REFERENCES = {
    "last": lambda rows: torch.cat([rows[-1, :3], rows[0, 3:]]),  # one backward feature
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0).values,
    "attention": lambda rows: _attend(rows, QUERY),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_pooling_equals_a_loop_over_the_valid_steps_of_each_row(name):
    steps = _steps()
    pool = make_pooling(name, 4, backward_features=1)
    for parameter in pool.parameters():
        parameter.data.copy_(QUERY)
    expected = torch.stack([REFERENCES[name](row[:n]) for row, n in zip(steps, LENGTHS, strict=True)])
    torch.testing.assert_close(pool(steps, LENGTHS), expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_padding_has_neither_influence_nor_gradient(name):
    pool = make_pooling(name, 4, backward_features=1)
    steps = _steps().requires_grad_()
    padding = (torch.arange(5) >= LENGTHS[:, None])[..., None]
    dirty = torch.where(padding, torch.tensor(1e6), steps)
    torch.testing.assert_close(pool(dirty, LENGTHS), pool(steps, LENGTHS), rtol=0, atol=0)
    pool(steps, LENGTHS).square().sum().backward()
    assert not steps.grad[padding.expand_as(steps)].any()
    assert torch.isfinite(steps.grad).all()


def test_attention_starts_from_the_mean():
    steps = _steps()
    mean = make_pooling("mean", 4)(steps, LENGTHS)
    torch.testing.assert_close(AttentionPool(4, 0)(steps, LENGTHS), mean)


def test_every_pooling_is_tested_and_described():
    assert set(POOLINGS) == set(REFERENCES)
    for entry in POOLINGS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
