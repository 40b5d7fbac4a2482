"""The families and the named data sets, without the libraries behind them: a test compares them with the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"title": "fully connected networks", "data": ["tabular", "image"]},
    "cnn": {"title": "convolutional networks", "data": ["image", "series"]},
    "rnn": {"title": "recurrent networks", "data": ["text", "series"]},
}
_CLASSES, _VALUES = "classification", "regression"
DATASETS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"kind": "image", "task": _CLASSES, "num_rows": 1797, "num_classes": 10, "is_downloaded": False},
    "breast_cancer": {
        "kind": "tabular",
        "task": _CLASSES,
        "num_rows": 569,
        "num_classes": 2,
        "is_downloaded": False,
    },
    "wine": {"kind": "tabular", "task": _CLASSES, "num_rows": 178, "num_classes": 3, "is_downloaded": False},
    "diabetes": {"kind": "tabular", "task": _VALUES, "num_rows": 442, "num_classes": None, "is_downloaded": False},
    "mnist": {"kind": "image", "task": _CLASSES, "num_rows": 70_000, "num_classes": 10, "is_downloaded": True},
    "fashion_mnist": {
        "kind": "image",
        "task": _CLASSES,
        "num_rows": 70_000,
        "num_classes": 10,
        "is_downloaded": True,
    },
}
