"""Series: from raw steps of any length to standardized channels, padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lightning_modules.data.base import Kind
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.errors import DataError

_EXAMPLE = "give a list of arrays (T, C), T of each series' own"


@dataclass(frozen=True, kw_only=True)
class SeriesPreprocessor(Preprocessor):
    """Standardizes each channel over the training series' own steps, then pads with zeros.

    Attributes:
        channels: Names, in the order of the last axis.
        mean: Per channel, of the training steps.
        std: Per channel; 0 where a channel is constant.
        longest: Steps of the longest training series.
        max_length: Longer series lose their last steps; None keeps all.
    """

    kind: ClassVar[Kind] = "series"
    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    longest: int
    max_length: int | None = None

    @classmethod
    def fit(
        cls, series: Sequence[Array], *, channels: Sequence[str], max_length: int | None, field: str | None = None
    ) -> Self:
        """Measure training series, each (T, C), numbers and finite.

        Args:
            series: At least one; T differs from series to series.
            channels: C names.
            max_length: Steps that are kept of a series, at least 1; None for all. Only those are measured.
            field: The data source's field that an error names.

        Raises:
            DataError: A channel's variance is beyond float64.
        """
        cut = [steps[:max_length] for steps in series]
        count = sum(len(steps) for steps in cut)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.sum([steps.sum(axis=0, dtype=np.float64) for steps in cut], axis=0) / count
            squares = np.sum([np.square(steps - mean).sum(axis=0) for steps in cut], axis=0)
            std = np.sqrt(squares / count)
        if not np.isfinite(std).all():
            name = channels[int(np.argmax(~np.isfinite(std)))]
            raise DataError(
                f"a channel's variance must be finite, that of {name!r} is not: give it in a larger unit",
                field=field,
            )
        # Rounding leaves a constant channel a spread of a few units in the last place: it is none.
        std[std <= 1e-12 * np.abs(mean)] = 0.0
        return cls(
            channels=tuple(channels),
            mean=tuple(float(value) for value in mean),
            std=tuple(float(value) for value in std),
            longest=max(len(steps) for steps in cut),
            max_length=max_length,
        )

    def transform(self, raw: Any) -> dict[str, Array]:
        """Standardize and pad.

        Args:
            raw: N series, each (T, C) with a T of its own; or one array (N, T, C).

        Returns:
            `series`: (N, T, C) float32, T of the longest one given, zero behind a series' end; `lengths`: (N,)
            int64, at least 1.

        Raises:
            DataError: A series has no steps, other channels than in training, or a value that is no finite number.
        """
        rows = [self._steps(row, number) for number, row in enumerate(_rows(raw), start=1)]
        lengths = np.asarray([len(steps) for steps in rows], dtype=np.int64)
        series = np.zeros((len(rows), int(lengths.max(initial=1)), len(self.channels)), dtype=np.float32)
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        gain = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)  # a constant channel becomes 0
        for row, steps in enumerate(rows):
            series[row, : len(steps)] = (steps - mean) * gain
        return {"series": series, "lengths": lengths}

    def _steps(self, row: Any, number: int) -> Array:
        try:
            steps = np.asarray(row)
        except ValueError as error:  # numpy refuses ragged lists
            raise DataError(
                f"every step of a series has the same channels, series {number} is ragged: {_EXAMPLE}",
                field="series",
            ) from error
        if steps.dtype.kind not in "uifb" or steps.ndim != 2 or steps.shape[1] != len(self.channels):
            raise DataError(
                f"a series is numbers of shape (T, {len(self.channels)}), a column for each of "
                f"{', '.join(self.channels[:10])}{', ...' if len(self.channels) > 10 else ''}, series {number} is "
                f"{steps.dtype} of shape {steps.shape}: {_EXAMPLE}",
                field="series",
            )
        if not len(steps):
            raise DataError(
                f"a series has at least one step, series {number} has none: leave it out", field="series"
            )
        steps = steps[: self.max_length].astype(np.float64)
        wrong = ~np.isfinite(steps)
        if wrong.any():
            step, channel = (int(index) for index in np.argwhere(wrong)[0])
            raise DataError(
                f"every value of a series is a finite number, series {number} has {steps[step, channel]} in step "
                f"{step + 1} of channel {self.channels[channel]!r}: fill it in, or cut the series before it",
                field="series",
            )
        return steps

    def sizes(self) -> dict[str, Any]:
        """Give `num_features` and `max_length`."""
        return {"num_features": len(self.channels), "max_length": self.longest}

    def to_dict(self) -> dict[str, Any]:
        """Give kind, channels, mean, std, longest and max_length."""
        return {
            "kind": self.kind,
            "channels": list(self.channels),
            "mean": list(self.mean),
            "std": list(self.std),
            "longest": self.longest,
            "max_length": self.max_length,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict()`."""
        return cls(
            channels=tuple(document["channels"]),
            mean=tuple(document["mean"]),
            std=tuple(document["std"]),
            longest=document["longest"],
            max_length=document["max_length"],
        )


def _rows(raw: Any) -> list[Any]:
    if isinstance(raw, np.ndarray) and raw.ndim not in (1, 3):
        raise DataError(
            f"series are an array (N, T, C) or a list of arrays (T, C), got an array of shape {raw.shape}: for a "
            "single series write [series], for a single channel add a last axis",
            field="series",
        )
    return list(raw)
