"""Where a learning rate goes when something beside it changes: centres for a search, never fixed rules."""

from __future__ import annotations

import math
from collections.abc import Mapping

from search_spaces.parameters import Value

# How much larger a useful step is than AdamW's on the same network, as an order of magnitude. Adaptive
# optimizers move each weight by about lr per step whatever the gradient's size; SGD kinds move by lr times
# the gradient. Source: usual defaults, 1e-3 for Adam (Kingma & Ba 2015) against 1e-1 for SGD and 1e-2 with
# momentum 0.9, whose steady state multiplies a step by 1 / (1 - 0.9) (Goh 2017, Distill).
OPTIMIZER_FACTORS: Mapping[str, float] = {
    "adam": 1.0,
    "adamw": 1.0,
    "rmsprop": 0.5,
    "adagrad": 10.0,
    "momentum": 10.0,
    "nesterov": 10.0,
    "sgd": 100.0,
}
_LINEAR = frozenset({"sgd", "momentum", "nesterov"})


def scaled_learning_rate(lr: float, *, before: Mapping[str, Value], after: Mapping[str, Value]) -> float:
    """Move a learning rate that was good under `before` to where it is likely good under `after`.

    Batch size: linear for SGD kinds, square root for adaptive ones. Optimizer: `OPTIMIZER_FACTORS`.

    Source:
        Goyal et al. 2017, arXiv:1706.02677 (linear); Malladi et al. 2022, arXiv:2205.10287 (square root).
    """
    old, new = str(before.get("optimizer", "adamw")), str(after.get("optimizer", "adamw"))
    scaled = lr * OPTIMIZER_FACTORS.get(new, 1.0) / OPTIMIZER_FACTORS.get(old, 1.0)
    sizes = before.get("batch_size"), after.get("batch_size")
    if all(isinstance(size, int | float) for size in sizes):
        ratio = float(sizes[1]) / float(sizes[0])  # type: ignore[arg-type]
        scaled *= ratio if new in _LINEAR else math.sqrt(ratio)
    return scaled
