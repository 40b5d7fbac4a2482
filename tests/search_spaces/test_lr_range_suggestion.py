"""A range test's curves and the range that follows from them."""

from __future__ import annotations

import math

import pytest

from search_spaces import suggest_lr_range
from search_spaces.lr_range import NUM_STEPS, Curve

LOW, HIGH = 1e-4, 1.0


def curve(*, falls_at: float = 1e-2, blows_up_at: float | None = 0.3, noise: float = 0.0) -> Curve:
    """A smooth fall from 2 to 0.5 around one learning rate, and a steep rise behind another one."""
    rates = [LOW * (HIGH / LOW) ** (i / (NUM_STEPS - 1)) for i in range(NUM_STEPS)]
    losses: list[float | None] = []
    for i, lr in enumerate(rates):
        loss = 2 - 1.5 / (1 + (falls_at / lr) ** 3) + noise * (-1) ** i
        losses.append(loss if blows_up_at is None or lr < blows_up_at else None)
    end = next((i + 1 for i, loss in enumerate(losses) if loss is None), NUM_STEPS)
    return {"lr": rates[:end], "loss": losses[:end]}


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_range_goes_from_a_tenth_of_the_steepest_fall_to_the_blow_up(noise: float) -> None:
    found = suggest_lr_range([curve(noise=noise)] * 3, low=LOW, high=HIGH)
    assert found is not None
    assert found.steepest == pytest.approx(1e-2, rel=0.4)
    assert found.low == pytest.approx(found.steepest / 10)
    assert found.blow_up is not None
    assert found.high == found.blow_up
    assert 0.15 < found.blow_up <= 0.3


def test_without_a_blow_up_the_range_is_open_above() -> None:
    found = suggest_lr_range([curve(blows_up_at=None)], low=LOW, high=HIGH)
    assert found is not None
    assert (found.high, found.blow_up) == (HIGH, None)


def test_a_rise_without_an_end_is_a_blow_up_too() -> None:
    rates = curve(blows_up_at=None)["lr"]
    losses = [2 - 1.5 / (1 + (1e-2 / (lr or 1)) ** 3) + ((lr or 1) / 0.3) ** 4 for lr in rates]
    found = suggest_lr_range([{"lr": rates, "loss": losses}], low=LOW, high=HIGH)
    assert found is not None
    assert found.high == pytest.approx(0.27, rel=0.3)


def test_one_unlucky_seed_of_three_changes_nothing() -> None:
    good = curve()
    early = curve(blows_up_at=1e-3)
    assert suggest_lr_range([good, early, good], low=LOW, high=HIGH) == suggest_lr_range(
        [good] * 3, low=LOW, high=HIGH
    )


def test_the_range_is_never_wider_than_the_spaces_own() -> None:
    found = suggest_lr_range([curve(falls_at=3e-4)], low=LOW, high=HIGH)
    assert found is not None
    assert LOW <= found.low < found.high <= HIGH
    assert found.low == LOW


@pytest.mark.parametrize("loss", [2.0, math.inf])
def test_a_loss_that_does_not_fall_says_nothing(loss: float) -> None:
    rates = curve(blows_up_at=None)["lr"]
    flat: list[float | None] = [loss if math.isfinite(loss) else None] * len(rates)
    assert suggest_lr_range([{"lr": rates, "loss": flat}], low=LOW, high=HIGH) is None
