"""Augmentations of series by name; a row's end is kept right, and what lies behind it stays zero.

A factory takes the setting's value and the longest length that a row may have, and makes a callable
`(series (B, T, C), lengths (B,)) -> (series (B, T', C), lengths (B,))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_modules.blocks.pooling import valid_steps
from lightning_modules.registry import Entry, Registry

SeriesTransform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _time_stretch(most: float, max_length: int) -> SeriesTransform:
    def stretch(series_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        lengths = lengths_B.cpu()
        factor_B = torch.empty(len(lengths)).uniform_(1.0 - most, 1.0 + most)
        stretched = (lengths * factor_B).round().long().clamp(1, max_length)
        return resample(series_BTC, lengths_B, stretched.to(lengths_B)), stretched.to(lengths_B)

    return stretch


def resample(series_BTC: Tensor, lengths_B: Tensor, new_lengths_B: Tensor) -> Tensor:
    """Read each row at another number of steps, first and last step kept, linear in between.

    Shapes:
        series: (B, T, C), lengths and new lengths: (B,) -> (B, max(new lengths), C), zero behind each end
    """
    num_steps = int(new_lengths_B.max())
    step_T = torch.arange(num_steps, device=series_BTC.device)
    scale_B1 = ((lengths_B - 1) / (new_lengths_B - 1).clamp_min(1))[:, None]
    last_B1 = (lengths_B - 1)[:, None]
    # Steps behind the new end are read at the old one, and zeroed below.
    position_BT = torch.minimum(step_T * scale_B1, last_B1)
    lower_BT = position_BT.long()
    upper_BT = torch.minimum(lower_BT + 1, last_B1)
    share_BT1 = (position_BT - lower_BT)[..., None].to(series_BTC.dtype)
    rows_B1 = torch.arange(len(series_BTC), device=series_BTC.device)[:, None]
    read_BTC = torch.lerp(series_BTC[rows_B1, lower_BT], series_BTC[rows_B1, upper_BT], share_BT1)
    return _within(read_BTC, new_lengths_B)


def _series_scale(std: float, max_length: int) -> SeriesTransform:
    def scale(series_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        num_rows, _, channels = series_BTC.shape
        return series_BTC * (1.0 + std * torch.randn(num_rows, 1, channels)).to(series_BTC), lengths_B

    return scale


def _series_jitter(std: float, max_length: int) -> SeriesTransform:
    def jitter(series_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        noise_BTC = std * torch.randn(series_BTC.shape)
        return _within(series_BTC + noise_BTC.to(series_BTC), lengths_B), lengths_B

    return jitter


def _time_mask(most: float, max_length: int) -> SeriesTransform:
    def mask(series_BTC: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        lengths = lengths_B.cpu()
        width_B = (torch.rand(len(lengths)) * most * lengths).long()
        start_B = (torch.rand(len(lengths)) * (lengths - width_B + 1)).long()
        steps = torch.arange(series_BTC.shape[1])
        hidden_BT = (steps >= start_B[:, None]) & (steps < (start_B + width_B)[:, None])
        return series_BTC.masked_fill(hidden_BT[..., None].to(series_BTC.device), 0.0), lengths_B

    return mask


def _within(series_BTC: Tensor, lengths_B: Tensor) -> Tensor:
    return series_BTC.masked_fill(~valid_steps(series_BTC.shape[1], lengths_B)[..., None], 0.0)


_SAME = "(B, T, C) -> (B, T, C)"

# In the order in which they are applied: what is hidden last stays hidden.
SERIES_AUGMENTATIONS: Registry[SeriesTransform] = Registry(
    "augmentation",
    [
        Entry(
            name="time_stretch",
            factory=_time_stretch,
            formula="length L becomes round(L U(1 - s, 1 + s)), at most the set's longest; linear in between",
            range="(B, T, C) -> (B, T', C)",
            used_for="series whose speed says nothing",
            source="Um et al. 2017, arXiv:1706.00527 (time warping)",
        ),
        Entry(
            name="series_scale",
            factory=_series_scale,
            formula="x_c (1 + s e_c), e ~ N(0, 1) for each row and channel",
            range=_SAME,
            used_for="series whose size says little: sensors of different gain",
            source="Um et al. 2017, arXiv:1706.00527 (scaling, 0.1)",
        ),
        Entry(
            name="series_jitter",
            factory=_series_jitter,
            formula="x + s e, e ~ N(0, 1) for each step and channel",
            range=_SAME,
            used_for="series from noisy sensors",
            source="Um et al. 2017, arXiv:1706.00527 (jittering, 0.05)",
        ),
        Entry(
            name="time_mask",
            factory=_time_mask,
            formula="a span of U(0, s) L steps, anywhere, set to 0",
            range=_SAME,
            used_for="long series that are known by many of their parts",
            source="Park et al. 2019, arXiv:1904.08779, sec. 2",
        ),
    ],
)


class SeriesAugmentation:
    """Augments series.

    Shapes:
        `series` (B, T, C) and `lengths` (B,) -> (B, T', C) and (B,)

    Args:
        settings: Names of `SERIES_AUGMENTATIONS` and their values.
        max_length: The longest that a row may become, in steps.
    """

    def __init__(self, settings: Mapping[str, Any], *, max_length: int) -> None:
        self._transforms = [
            entry.factory(settings[name], max_length)
            for name, entry in SERIES_AUGMENTATIONS.items()
            if name in settings
        ]

    def __call__(self, inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Augment one batch."""
        series, lengths = inputs["series"], inputs["lengths"]
        for transform in self._transforms:
            series, lengths = transform(series, lengths)
        return {**inputs, "series": series, "lengths": lengths}, target
