"""Augmented texts: words change, padding does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.augmentation.texts import TextAugmentation
from lightning_modules.data.vocabulary import PAD_CODE, UNK_CODE

NUM_ROWS, NUM_STEPS = 400, 21


def texts() -> dict[str, Tensor]:
    """Rows of different words, so that each can be followed."""
    lengths = torch.randint(1, NUM_STEPS + 1, (NUM_ROWS,))
    lengths[0] = NUM_STEPS
    tokens = (torch.arange(NUM_STEPS) + 2).repeat(NUM_ROWS, 1)
    return {
        "tokens": tokens.masked_fill(torch.arange(NUM_STEPS) >= lengths[:, None], PAD_CODE),
        "lengths": lengths,
    }


def augment(inputs: dict[str, Tensor], **settings: Any) -> Tensor:
    target = torch.zeros(NUM_ROWS)
    augmented, same = TextAugmentation(settings)(inputs, target)
    assert same is target
    assert augmented["lengths"] is inputs["lengths"]
    return augmented["tokens"]


def test_dropped_words_become_unknown_and_nothing_else_changes() -> None:
    inputs = texts()
    tokens = augment(inputs, word_dropout=0.3)
    before = inputs["tokens"]
    dropped = tokens == UNK_CODE
    assert torch.equal(tokens[~dropped], before[~dropped])
    assert not (before[dropped] == PAD_CODE).any()
    assert float(dropped.sum() / inputs["lengths"].sum()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_swapped_words_move_by_one_place_within_their_text(share: float) -> None:
    inputs = texts()
    tokens = augment(inputs, word_swap=share)
    before, lengths = inputs["tokens"], inputs["lengths"]
    assert torch.equal(tokens.sort(dim=1)[0], before.sort(dim=1)[0])
    valid = torch.arange(NUM_STEPS) < lengths[:, None]
    assert torch.equal(tokens[~valid], before[~valid])
    moved = (tokens - before)[valid]
    assert set(moved.tolist()) == {-1, 0, 1}
    # A word at an end of a text has no neighbour to change places with in half of the cases.
    inner = valid & (torch.arange(NUM_STEPS) > 0) & (torch.arange(NUM_STEPS) < lengths[:, None] - 1)
    assert float((tokens != before)[inner].float().mean()) == pytest.approx(share, abs=0.03)


def test_a_text_of_one_word_stays() -> None:
    inputs = {"tokens": torch.full((NUM_ROWS, 1), 7), "lengths": torch.ones(NUM_ROWS, dtype=torch.int64)}
    assert torch.equal(augment(inputs, word_swap=1.0), inputs["tokens"])


def test_every_neighbour_may_be_swapped() -> None:
    inputs = texts()
    tokens = augment(inputs, word_swap=0.5)
    first_moved_right = (tokens[:, 1:] == inputs["tokens"][:, :-1]) & (tokens[:, 1:] != PAD_CODE)
    assert first_moved_right.any(dim=0).all()
