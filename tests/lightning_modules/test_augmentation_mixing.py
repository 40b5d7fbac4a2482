"""Mixup mixes inputs and labels by the same share, and the losses take mixed labels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toy_networks import images

from lightning_modules.augmentation.mixing import MIXES
from lightning_modules.data.base import DataInfo
from lightning_modules.losses import make_loss
from lightning_modules.recipe import Recipe

CLASSES = 4


def mixed(alpha: float, seed: int = 0, rows: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix rows whose input names them: inputs before and after, targets before and after."""
    image = torch.arange(rows, dtype=torch.float32).mul(100.0)[:, None, None, None].expand(rows, 1, 2, 2)
    target = torch.arange(rows) % CLASSES
    torch.manual_seed(seed)
    inputs, shares = MIXES["mixup"].factory(alpha, CLASSES)({"image": image}, target)
    return image, inputs["image"], target, shares


@pytest.mark.parametrize("seed", range(5))
def test_inputs_and_labels_are_mixed_by_the_same_share(seed: int) -> None:
    before, after, target, shares = mixed(0.4, seed)
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    partner = torch.randperm(len(target))
    torch.testing.assert_close(after, share * before + (1 - share) * before[partner])
    expected = torch.zeros(len(target), CLASSES)
    for row in range(len(target)):
        expected[row, target[row]] += share
        expected[row, target[partner[row]]] += 1 - share
    torch.testing.assert_close(shares, expected)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(target)))


def test_the_share_follows_the_beta_distribution() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    seen = []
    for seed in range(600):
        _, _, target, shares = mixed(0.5, seed)
        own = shares.gather(1, target[:, None])
        seen.append(float(own.min()))  # less than 1 where the partner is of another class
    assert float(torch.tensor(seen).mean()) == pytest.approx(1 / 2, abs=0.04)
    assert float(torch.tensor(seen).var()) == pytest.approx(1 / 8, rel=0.15)


@pytest.mark.parametrize("alpha", [1e-6, 10.0])
def test_any_strength_gives_finite_shares(alpha: float) -> None:
    for seed in range(20):
        _, after, _, shares = mixed(alpha, seed)
        assert torch.isfinite(after).all()
        assert float(shares.min()) >= 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize(("loss", "classes"), [("cross_entropy", 4), ("focal", 4), ("bce", 2)])
def test_a_label_of_one_class_gives_the_same_loss_in_both_forms(
    loss: str, classes: int, weights: str, smoothing: float
) -> None:
    info = DataInfo(
        kind="tabular", task="classification", num_outputs=classes, num_train=9, num_validation=1, num_features=1,
        class_counts=tuple(range(1, classes + 1)),
    )  # fmt: skip
    compare = make_loss(Recipe(loss=loss, class_weights=weights, label_smoothing=smoothing), info)
    torch.manual_seed(0)
    logits = torch.randn(9, 1 if loss == "bce" else classes)
    target = torch.randint(0, classes, (9,))
    one_hot = F.one_hot(target, classes).float()
    torch.testing.assert_close(compare(logits, one_hot), compare(logits, target))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_the_loss_of_mixed_labels_is_the_mix_of_the_losses(loss: str) -> None:
    compare = make_loss(Recipe(loss=loss, label_smoothing=0.1), images(1, 2, 2, num_outputs=CLASSES))
    torch.manual_seed(0)
    logits, one, other = torch.randn(9, CLASSES), torch.randint(0, 4, (9,)), torch.randint(0, 4, (9,))
    shares = 0.3 * F.one_hot(one, CLASSES) + 0.7 * F.one_hot(other, CLASSES)
    torch.testing.assert_close(compare(logits, shares), 0.3 * compare(logits, one) + 0.7 * compare(logits, other))
