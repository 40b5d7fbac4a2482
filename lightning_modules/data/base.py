"""What every data source gives: arrays for training and validation, and a description of them.

The test split is not part of `TrainingData`. It is read by `DataSource.read_test`, a method of its own,
so that nothing which trains or compares trials can hold it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["tabular", "image", "text", "series"]
TaskType = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What a network, a loss and a metric need to know of a data set; JSON primitives only.

    Inputs by kind, as the networks get them (B = batch):
        tabular: `numeric` (B, F) float32, and `categories` (B, K) int64 if K > 0; code 0 is "unknown"
        image:   `image` (B, C, H, W) float32
        text:    `tokens` (B, T) int64, 0 is `<pad>` and 1 is `<unk>`; `lengths` (B,) int64, at least 1
        series:  `series` (B, T, C) float32, zero behind its end; `lengths` (B,) int64, at least 1
    Target: (B,) int64 class indices, or (B,) float32 standardized values for regression.
    """

    kind: Kind
    task: TaskType
    num_outputs: int  # classes, or 1 for regression
    num_train: int
    num_validation: int
    num_features: int = 0  # F of tabular, C of series
    cardinalities: tuple[int, ...] = ()  # categories per column, code 0 included
    image_shape: tuple[int, int, int] | None = None  # (C, H, W)
    vocabulary_size: int = 0  # `<pad>` and `<unk>` included
    max_length: int = 0  # T of text and series
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()  # of the training split
    target_mean: float = 0.0  # of the training split, in the target's own unit
    target_std: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split as arrays, ready for a network.

    `inputs[name]` and `target` share their first axis. Arrays may be read-only (shared memory).
    """

    inputs: Mapping[str, np.ndarray[Any, Any]]
    target: np.ndarray[Any, Any]
    unknown_ratio: float | None = None  # of texts: the share of words that the vocabulary does not hold

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The two splits that steer a search. Never holds a row of the test split."""

    info: DataInfo
    train: Split
    validation: Split
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # JSON: what turns raw rows into inputs
    fingerprint: str = ""  # SHA-256 over the arrays: the same data or not


class DataSource(ABC):
    """A named set, a table, a folder of images or a file of texts, with its seeded splits.

    Splits are stratified by class for classification and follow from the seed alone. Everything that is
    fitted (means, vocabulary, category codes) is fitted on the training split only.
    """

    @abstractmethod
    def read_training(self) -> TrainingData:
        """Read, split and preprocess.

        Raises:
            DataError: The files or columns cannot be used; names the rule, the values and the remedy.
        """

    @abstractmethod
    def read_test(self) -> Split:
        """Read the test split, preprocessed with what was fitted on the training split."""
