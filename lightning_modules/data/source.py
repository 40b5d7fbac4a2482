"""The way all sources share: read rows, split them, fit on training, describe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from lightning_modules.data.base import DataInfo, DataSource, Split, TaskType, TrainingData
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.data.splits import check_fractions, split_rows
from lightning_modules.data.targets import ClassCoder, Coder, ValueScaler, count_classes
from lightning_modules.errors import DataError

_log = logging.getLogger(__name__)

# Above this share the network hardly reads what it is measured on; TREC without words seen once has 0.14.
_UNKNOWN_RATIO_WARNING = 0.3


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Raw rows: a data frame, an array of images, a list of texts or series, and a raw target per row.

    The target is an object array of class labels (str), or a float64 array for regression. `channels` names those
    of series.
    """

    raw: Any
    target: Array
    channels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: Array) -> Rows:
        """Select rows, in the order of the index."""
        if isinstance(self.raw, list):
            raw: Any = [self.raw[row] for row in index]
        else:
            raw = self.raw.iloc[index] if hasattr(self.raw, "iloc") else self.raw[index]
        return dataclasses.replace(self, raw=raw, target=self.target[index])


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a source's files hold, before anything is split or fitted.

    `test` holds the rows of a test file; without one the test split is cut from `rows`. `class_names` is given
    where the order of the classes is fixed.
    """

    rows: Rows
    task: TaskType
    test: Rows | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    train: Rows
    validation: Rows
    test: Rows
    preprocessor: Preprocessor
    coder: Coder


@dataclass(frozen=True, kw_only=True)
class SplitSource(DataSource):
    """A source that splits by seed and fits on the training split; subclasses read rows and fit.

    Each call reads the files anew and holds nothing between calls.

    Attributes:
        validation_fraction: Share of the rows outside a test file.
        test_fraction: Share of the rows; unused where a test file is given.
        split_seed: The splits follow from it alone.
    """

    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    split_seed: int = 0

    label_field: ClassVar[str | None] = None  # the field that an error about a class names
    test_field: ClassVar[str | None] = "test_path"  # the one that an error about a test file names

    def __post_init__(self) -> None:
        check_fractions(self.validation_fraction, self.test_fraction)
        if self.split_seed < 0:
            raise DataError(f"split_seed >= 0 must hold, got {self.split_seed}: give 0", field="split_seed")

    @abstractmethod
    def _read(self) -> Contents:
        """Read and check the files."""

    @abstractmethod
    def _fit(self, train: Rows) -> Preprocessor:
        """Fit the preprocessing on training rows."""

    def read_training(self) -> TrainingData:
        """Read, split and preprocess; see `DataSource`. A test file is checked, and nothing of it is kept."""
        fitted = self._fit_training()
        train = self._make_split(fitted.train, fitted)
        validation = self._make_split(fitted.validation, fitted)
        _warn_of_unknown_words("validation", validation)
        info = _describe(fitted, train, validation)
        return TrainingData(
            info=info,
            train=train,
            validation=validation,
            preprocessing=fitted.preprocessor.to_dict(),
            fingerprint=fingerprint_arrays(info, train, validation),
        )

    def read_test(self) -> Split:
        """Read the test split, preprocessed with what is fitted on the training split."""
        fitted = self._fit_training()
        test = self._make_split(fitted.test, fitted)
        _warn_of_unknown_words("test", test)
        return test

    def _transform(self, rows: Rows, preprocessor: Preprocessor) -> dict[str, Array]:
        """Turn raw rows into inputs; a source whose rows no memory holds has a way of its own."""
        return preprocessor.transform(rows.raw)

    def _make_split(self, rows: Rows, fitted: _Fitted) -> Split:
        coder = fitted.coder
        target = coder.encode(rows.target.tolist()) if isinstance(coder, ClassCoder) else coder.encode(rows.target)
        inputs = self._transform(rows, fitted.preprocessor)
        return Split(inputs=inputs, target=target, unknown_ratio=fitted.preprocessor.unknown_ratio(inputs))

    def _fit_training(self) -> _Fitted:
        contents = self._read()
        rows, labels = contents.rows, None
        if contents.task == "classification":
            labels = cast(Sequence[str], contents.rows.target.tolist())
            classes = ClassCoder.fit(labels, names=contents.class_names, field=self.label_field)
            if contents.test is not None:
                # An unseen label is told before the search.
                classes.encode(contents.test.target.tolist(), field=self.test_field)
        indices = split_rows(
            len(rows),
            labels=labels,
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction if contents.test is None else None,
            seed=self.split_seed,
            label_field=self.label_field,
        )
        train = rows.take(indices.train)
        coder: Coder = ValueScaler.fit(train.target) if labels is None else classes
        return _Fitted(
            train=train,
            validation=rows.take(indices.validation),
            test=rows.take(indices.test) if contents.test is None else contents.test,
            preprocessor=self._fit(train),
            coder=coder,
        )


def _warn_of_unknown_words(name: str, split: Split) -> None:
    if split.unknown_ratio is not None and split.unknown_ratio > _UNKNOWN_RATIO_WARNING:
        _log.warning(
            "%.0f %% of the %s split's words are unknown: lower min_frequency or add texts",
            100 * split.unknown_ratio,
            name,
        )


def _describe(fitted: _Fitted, train: Split, validation: Split) -> DataInfo:
    coder = fitted.coder
    if isinstance(coder, ClassCoder):
        of_task: dict[str, Any] = {
            "task": "classification",
            "num_outputs": len(coder.names),
            "class_names": coder.names,
            "class_counts": count_classes(train.target, len(coder.names)),
        }
    else:
        of_task = {
            "task": "regression",
            "num_outputs": 1,
            "target_mean": coder.mean,
            "target_std": coder.std,
        }
    return DataInfo(
        kind=fitted.preprocessor.kind,
        num_train=len(train),
        num_validation=len(validation),
        **fitted.preprocessor.sizes(),
        **of_task,
    )


def fingerprint_arrays(info: DataInfo, train: Split, validation: Split) -> str:
    """Hash the description and every array with its name, type and shape (SHA-256, hex)."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(info), sort_keys=True).encode())
    for split_name, split in (("train", train), ("validation", validation)):
        for name, array in [*sorted(split.inputs.items()), ("target", split.target)]:
            digest.update(f"{split_name}/{name}/{array.dtype.str}/{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
