import pytest
import torch
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.pooling import POOLINGS, AttentionPool, make_pooling

LENGTHS = torch.tensor([5, 1, 3])


def _steps() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 5, 4)


def _attend(rows: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    weights = torch.exp(rows @ query / 2)  # sqrt(4) features
    return (weights[:, None] * rows).sum(0) / weights.sum()


REFERENCES = {
    "last": lambda rows: torch.cat([rows[-1, :3], rows[0, 3:]]),  # one backward feature
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0).values,
    "attention": _attend,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_pooling_and_its_gradients_equal_a_loop_over_the_valid_steps_of_each_row(name):
    pool = make_pooling(name, 4, backward_features=1)

    def reference(weights, steps):
        query = weights.get("query")
        rows = [row[:n] for row, n in zip(steps, LENGTHS, strict=True)]
        return torch.stack([_attend(row, query) if name == "attention" else REFERENCES[name](row) for row in rows])

    assert_same_with_gradients(pool, reference, _steps(), call=lambda steps: pool(steps, LENGTHS))


def test_attention_equals_torchs_scaled_dot_product_of_one_query():
    pool, steps = make_pooling("attention", 4), _steps()
    pool.query.data.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    mask = (torch.arange(5) < LENGTHS[:, None])[:, None]
    expected = F.scaled_dot_product_attention(pool.query.expand(3, 1, 4), steps, steps, attn_mask=mask)[:, 0]
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
