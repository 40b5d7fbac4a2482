"""Augmented series: lengths stay right, padding stays zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.augmentation.series import SERIES_AUGMENTATIONS, SeriesAugmentation, resample

LENGTHS = torch.tensor([40, 25, 7, 2, 1])


def batch(lengths: Tensor = LENGTHS) -> dict[str, Tensor]:
    steps = int(lengths.max())
    valid = (torch.arange(steps) < lengths[:, None])[..., None]
    return {"series": torch.where(valid, torch.randn(len(lengths), steps, 3) + 5.0, torch.tensor(0.0)),
            "lengths": lengths}  # fmt: skip


def augment(inputs: dict[str, Tensor], *, max_length: int = 50, **settings: Any) -> dict[str, Tensor]:
    target = torch.zeros(len(inputs["lengths"]))
    augmented, same = SeriesAugmentation(settings, max_length=max_length)(inputs, target)
    assert same is target
    return augmented


@pytest.mark.parametrize("name", SERIES_AUGMENTATIONS)
def test_what_lies_behind_the_end_stays_zero_and_the_inputs_stay_as_they_were(name: str) -> None:
    inputs = batch()
    before = {key: value.clone() for key, value in inputs.items()}
    num_changed = 0
    for seed in range(10):
        torch.manual_seed(seed)
        augmented = augment(inputs, **{name: 0.5})
        series, lengths = augmented["series"], augmented["lengths"]
        assert (series.dtype, lengths.dtype) == (torch.float32, torch.int64)
        assert series.shape[1] == int(lengths.max())
        behind = torch.arange(series.shape[1]) >= lengths[:, None]
        assert not series[behind].any()
        num_changed += not torch.equal(series, inputs["series"])
    assert num_changed == 10
    assert all(torch.equal(before[key], inputs[key]) for key in before)


def test_a_stretched_row_is_its_linear_interpolation() -> None:
    inputs = batch()
    new_lengths = torch.tensor([33, 31, 9, 5, 3])
    read = resample(inputs["series"], LENGTHS, new_lengths)
    assert read.shape == (5, 33, 3)
    for row in range(5):
        old, new = int(LENGTHS[row]), int(new_lengths[row])
        at = np.linspace(0, old - 1, new)
        for channel in range(3):
            expected = np.interp(at, np.arange(old), inputs["series"][row, :old, channel].numpy())
            np.testing.assert_allclose(read[row, :new, channel], expected, rtol=1e-5)
        assert not read[row, new:].any()


def test_a_length_that_stays_gives_the_row_as_it_was() -> None:
    inputs = batch()
    torch.testing.assert_close(resample(inputs["series"], LENGTHS, LENGTHS), inputs["series"])


def test_stretching_keeps_lengths_within_the_share_and_the_sets_longest() -> None:
    lengths = torch.full((500,), 40)
    lengths[:100] = 2
    inputs = batch(lengths)
    stretched = augment(inputs, max_length=44, time_stretch=0.25)["lengths"]
    assert int(stretched.min()) >= 1
    assert 30 <= int(stretched[100:].min()) < 34
    assert int(stretched.max()) == 44


def test_jitter_has_the_standard_deviation_that_is_asked_for() -> None:
    inputs = batch(torch.full((50,), 200))
    noise = augment(inputs, series_jitter=0.3)["series"] - inputs["series"]
    assert float(noise.std()) == pytest.approx(0.3, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.01)


def test_scaling_multiplies_each_channel_of_a_row_by_one_factor() -> None:
    inputs = batch(torch.full((800,), 6))
    factor = augment(inputs, series_scale=0.1)["series"] / inputs["series"]
    torch.testing.assert_close(factor, factor[:, :1].expand(-1, 6, -1))
    assert float(factor[:, 0].std()) == pytest.approx(0.1, rel=0.1)
    assert float(factor[:, 0].mean()) == pytest.approx(1.0, abs=0.01)


def test_a_mask_hides_one_span_of_at_most_the_share() -> None:
    lengths = torch.randint(1, 60, (300,))
    inputs = batch(lengths)
    masked = augment(inputs, time_mask=0.5)["series"]
    widths, starts = [], []
    for row, length in enumerate(lengths.tolist()):
        hidden = (masked[row, :length] == 0).all(dim=1)
        assert torch.equal(masked[row, :length][~hidden], inputs["series"][row, :length][~hidden])
        places = hidden.nonzero().flatten().tolist()
        assert places == list(range(places[0], places[0] + len(places))) if places else True
        assert len(places) <= 0.5 * length
        widths.append(len(places) / length)
        starts += places[:1]
    assert max(widths) > 0.4
    assert len(set(starts)) > 20
