"""The tuning problem that every stack solves: a small network on scikit-learn's digits.

The stacks written by hand and the spec that tuneladder gets read ranges, splits, rungs and patience from here.
"""

from __future__ import annotations

from typing import Any

# In the words of a spec's `search.space`: low and high of a range, or choices.
SPACE: dict[str, dict[str, Any]] = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "width": {"choices": [32, 64, 128, 256]},
    "batch_size": {"choices": [32, 64, 128]},
    "weight_decay": {"low": 1e-6, "high": 0.1, "log": True},
    "optimizer": {"choices": ["momentum", "adamw"]},
    "activation": {"choices": ["relu", "gelu", "silu"]},
}
FIXED: dict[str, Any] = {"depth": 2, "norm": "none"}  # in the words of a spec's `model`
MOMENTUM = 0.9
MAX_EPOCHS = 10
WORKERS = 2
PATIENCE = 5  # epochs without a better validation accuracy
GRACE_EPOCHS = 2  # first rung
REDUCTION_FACTOR = 3  # one in three goes on
VALIDATION_FRACTION = 0.15
TEST_FRACTION = 0.15
METRIC = "val_accuracy"
