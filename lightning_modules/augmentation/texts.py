"""Augmentations of texts by name; they need no list of synonyms, and padding stays padding.

A factory takes the setting's value and makes a callable `(tokens (B, T), lengths (B,)) -> tokens (B, T)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_modules.blocks.pooling import valid_steps
from lightning_modules.data.vocabulary import UNK_CODE
from lightning_modules.registry import Entry, Registry

TextTransform = Callable[[Tensor, Tensor], Tensor]


def _word_swap(share: float) -> TextTransform:
    def swap(tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        num_rows, num_steps = tokens_BT.shape
        # Words are paired from the first or from the second one on, at random: so no word is in two pairs.
        shift_B1 = torch.randint(2, (num_rows, 1))
        step_T = torch.arange(num_steps)
        pair_BT = (step_T + shift_B1) // 2
        first_BT = (step_T + shift_B1) % 2 == 0
        chosen_BT = (torch.rand(num_rows, num_steps // 2 + 1) < share).gather(1, pair_BT)
        partner_BT = torch.where(first_BT, step_T + 1, step_T - 1)
        lengths_B1 = lengths_B.cpu()[:, None]
        moves_BT = chosen_BT & (partner_BT >= 0) & (torch.maximum(partner_BT, step_T) < lengths_B1)
        order_BT = torch.where(moves_BT, partner_BT, step_T)
        return tokens_BT.gather(1, order_BT.to(tokens_BT.device))

    return swap


def _word_dropout(share: float) -> TextTransform:
    def drop(tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        dropped_BT = (torch.rand(tokens_BT.shape) < share).to(tokens_BT.device)
        return tokens_BT.masked_fill(dropped_BT & valid_steps(tokens_BT.shape[1], lengths_B), UNK_CODE)

    return drop


_SAME = "(B, T) -> (B, T)"

TEXT_AUGMENTATIONS: Registry[TextTransform] = Registry(
    "augmentation",
    [
        Entry(
            name="word_swap",
            factory=_word_swap,
            formula="this share of the words changes places with a neighbour",
            range=_SAME,
            used_for="texts whose words say more than their order",
            source="Wei & Zou 2019, arXiv:1901.11196 (random swap; of neighbours alone here)",
        ),
        Entry(
            name="word_dropout",
            factory=_word_dropout,
            formula="this share of the words becomes <unk>",
            range=_SAME,
            used_for="small sets of texts, where <unk> is hardly seen in training",
            source="Iyyer et al. 2015, ACL, sec. 3.2",
        ),
    ],
)


class TextAugmentation:
    """Augments texts.

    Shapes:
        `tokens` (B, T) and `lengths` (B,) -> the same

    Args:
        settings: Names of `TEXT_AUGMENTATIONS` and their values.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._transforms = [
            entry.factory(settings[name]) for name, entry in TEXT_AUGMENTATIONS.items() if name in settings
        ]

    def __call__(self, inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Augment one batch."""
        tokens = inputs["tokens"]
        for transform in self._transforms:
            tokens = transform(tokens, inputs["lengths"])
        return {**inputs, "tokens": tokens}, target
