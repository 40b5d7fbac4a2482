"""Four small sets that scikit-learn brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_modules.data.columns import TabularPreprocessor
from lightning_modules.data.pixels import ImagePreprocessor
from lightning_modules.data.preprocessor import Preprocessor
from lightning_modules.data.published import PUBLISHED_SETS
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.errors import DataError

BUILTIN_NAMES = ("digits", "breast_cancer", "wine", "diabetes")

_DIGITS_SCALE = 16.0  # pixels count the set dots of a 4x4 block


@dataclass(frozen=True, kw_only=True)
class BuiltinSource(SplitSource):
    """A set by name; nothing is downloaded.

    Attributes:
        name: `digits` (1,797 images of 1x8x8, ten classes), `breast_cancer` (569 rows, 30 numbers, two classes),
            `wine` (178 rows, 13 numbers, three classes) or `diabetes` (442 rows, 10 numbers, regression).
    """

    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in BUILTIN_NAMES:
            raise DataError(
                f"a set is one of {', '.join((*BUILTIN_NAMES, *PUBLISHED_SETS))}, got {self.name!r}: choose one",
                field="name",
            )

    def _read(self) -> Contents:
        from sklearn import datasets

        if self.name == "diabetes":
            bunch = datasets.load_diabetes(scaled=False)  # scaled=True is fitted on all rows, the test split's too
            return Contents(
                rows=Rows(raw=_frame(bunch), target=bunch.target.astype(np.float64)), task="regression"
            )
        loaders: dict[str, Callable[[], Any]] = {
            "digits": datasets.load_digits,
            "breast_cancer": datasets.load_breast_cancer,
            "wine": datasets.load_wine,
        }
        bunch = loaders[self.name]()
        names = tuple(str(name) for name in bunch.target_names)
        labels = np.asarray([names[code] for code in bunch.target], dtype=object)
        raw = bunch.images if self.name == "digits" else _frame(bunch)
        return Contents(rows=Rows(raw=raw, target=labels), task="classification", class_names=names)

    def _fit(self, train: Rows) -> Preprocessor:
        if self.name == "digits":
            return ImagePreprocessor.fit(train.raw, scale=_DIGITS_SCALE)
        return TabularPreprocessor.fit(train.raw)


def _frame(bunch: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(bunch.data, columns=[str(name) for name in bunch.feature_names])
