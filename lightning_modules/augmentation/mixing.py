"""Mixing rows of a batch, inputs and labels alike.

A factory takes the setting's value and the number of classes, and makes a callable
`(inputs, target (B,) int64) -> (inputs, target (B, K) float32)`: the target becomes shares of the classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.registry import Entry, Registry

Mix = Callable[[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], Tensor]]


def _mixup(alpha: float, num_classes: int) -> Mix:
    # Not kornia's: its share is uniform, and the paper's one follows a Beta distribution.
    beta = torch.distributions.Beta(alpha, alpha)

    def mix(inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        share = float(beta.sample())
        partner = torch.randperm(len(target)).to(target.device)
        mixed = {name: share * x + (1.0 - share) * x[partner] for name, x in inputs.items()}
        shares_BK = F.one_hot(target, num_classes).float()
        return mixed, share * shares_BK + (1.0 - share) * shares_BK[partner]

    return mix


MIXES: Registry[Mix] = Registry(
    "augmentation",
    [
        Entry(
            name="mixup",
            factory=_mixup,
            formula="l x + (1 - l) x', l y + (1 - l) y', one l ~ Beta(a, a) a batch, x' another row of it",
            range="target (B,) -> (B, K), each row sums to 1",
            used_for="classification of images and of numbers; 0.2 to 0.4 for large images",
            source="Zhang et al. 2018, arXiv:1710.09412, sec. 2",
        ),
    ],
)
