"""From a document to its preprocessor: the way a bundle predicts from raw rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_modules.data.channels import SeriesPreprocessor
from lightning_modules.data.columns import TabularPreprocessor
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Preprocessor
from lightning_modules.data.vocabulary import TextPreprocessor
from lightning_modules.errors import DataError

__all__ = [
    "ImagePreprocessor",
    "Preprocessor",
    "SeriesPreprocessor",
    "TabularPreprocessor",
    "TextPreprocessor",
    "preprocessor_from_dict",
]

_KINDS: dict[str, type[Preprocessor]] = {
    cls.kind: cls for cls in (TabularPreprocessor, ImagePreprocessor, TextPreprocessor, SeriesPreprocessor)
}


def preprocessor_from_dict(document: Mapping[str, Any]) -> Preprocessor:
    """Rebuild a preprocessor from `TrainingData.preprocessing`.

    Raises:
        DataError: The kind is none that this version knows.
    """
    kind = document.get("kind")
    if kind not in _KINDS:
        raise DataError(
            f"preprocessing is of kind {', '.join(_KINDS)}, got {kind!r}: "
            "give the document that read_training() left in TrainingData.preprocessing",
            field="kind",
        )
    return _KINDS[kind].from_dict(document)
