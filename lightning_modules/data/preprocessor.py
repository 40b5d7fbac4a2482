"""What turns raw rows into a network's inputs, for data that training never saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from lightning_modules.data.base import Kind

Array = np.ndarray[Any, Any]


class Preprocessor(ABC):
    """Fitted on the training split, immutable after it, and JSON outside.

    A bundle keeps `to_dict()` and predicts from raw rows with `preprocessor_from_dict(...).transform(raw)`.
    """

    kind: ClassVar[Kind]

    @abstractmethod
    def transform(self, raw: Any) -> dict[str, Array]:
        """Turn raw rows into the inputs that `DataInfo` describes.

        Raises:
            DataError: The rows are not of the kind that the preprocessor was fitted on.
        """

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """Give the fields of `DataInfo` that follow from the preprocessing: number of features, vocabulary."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Give everything that was fitted as JSON primitives, `kind` among them."""

    @classmethod
    @abstractmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict()`; keys that are not of the preprocessor are ignored."""

    def unknown_ratio(self, inputs: Mapping[str, Array]) -> float | None:
        """Give the share of words that the vocabulary does not hold; None for a kind without vocabulary."""
        return None
