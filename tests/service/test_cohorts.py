"""Which trials of a rung are trained together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data import BuiltinSource, TrainingData
from service.cohorts import FusedShapes, Shape, alone, form_cohorts
from service.engine.train import LegContext
from service.own_code import OwnDataModule


def by_width(params: Mapping[str, Any]) -> Shape | None:
    return None if params["width"] is None else Shape(key=params["width"])


def cohorts(widths: list[int | None], size: int) -> list[tuple[int, ...]]:
    return form_cohorts(range(len(widths)), lambda number: {"width": widths[number]}, shape=by_width, size=size)


def test_trials_of_one_shape_are_shared_out_evenly_in_the_order_of_the_first() -> None:
    assert cohorts([8, 16, 8, 8, 16, 8, 8], 4) == [(0, 2), (3, 5, 6), (1, 4)]
    assert cohorts([8] * 4, 4) == [(0, 1, 2, 3)]


def test_who_has_no_shape_to_share_is_alone() -> None:
    assert cohorts([None, 8, None, 8], 4) == [(0,), (1, 3), (2,)]
    assert cohorts([8, 8, 8], 1) == [(0,), (1,), (2,)]
    assert form_cohorts([5, 3], lambda number: {}, shape=alone, size=8) == [(5,), (3,)]


def test_a_cohort_that_would_be_too_small_to_pay_is_trained_one_by_one() -> None:
    def of_three(params: Mapping[str, Any]) -> Shape:
        return Shape(key=params["width"], fewest=3)

    def found(widths: list[int], size: int) -> list[tuple[int, ...]]:
        return form_cohorts(
            range(len(widths)), lambda number: {"width": widths[number]}, shape=of_three, size=size
        )

    assert found([8, 16, 8, 16, 16], 4) == [(0,), (2,), (1, 3, 4)]
    assert found([8] * 7, 4) == [(0, 1, 2), (3, 4, 5, 6)]
    assert found([8] * 5, 4) == [(0,), (1,), (2, 3, 4)]
    assert found([8] * 4, 2) == [(0,), (1,), (2,), (3,)]


@given(st.lists(st.sampled_from([None, 1, 2, 3]), max_size=40), st.integers(1, 9))
def test_everybody_is_in_one_cohort_of_one_shape(widths: list[int | None], size: int) -> None:
    found = cohorts(widths, size)
    assert sorted(number for cohort in found for number in cohort) == list(range(len(widths)))
    assert all(1 <= len(cohort) <= size for cohort in found)
    assert all(len({widths[number] for number in cohort}) == 1 for cohort in found)
    assert all(list(cohort) == sorted(cohort) for cohort in found)


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.15, split_seed=0).read_training()


def context(data: TrainingData | OwnDataModule, **more: Any) -> LegContext:
    return LegContext(family="mlp", data=data, metric="val_loss", mode="min", max_epochs=3, **more)


def test_members_have_all_in_common_but_what_changes_no_shape(digits: TrainingData) -> None:
    shape = FusedShapes(context(digits, fixed={"depth": 2}))
    first = shape({"lr": 0.1, "dropout": 0.1, "width": 32})
    assert first is not None
    assert first.fewest == 3  # two dense networks take as long in turn
    assert first == shape({"lr": 0.2, "dropout": 0.0, "width": 32, "weight_decay": 0.1})
    assert first != shape({"width": 64})
    assert first != shape({"width": 32, "depth": 3})


def test_there_is_no_shape_where_a_trial_had_better_be_alone(digits: TrainingData) -> None:
    shape = FusedShapes(context(digits))
    assert shape({"width": 4096, "depth": 6, "batch_size": 512}) is None  # computes more than it shares
    assert shape({"width": -1}) is None  # the slot says what is wrong with it
    own = OwnDataModule(module="package.module:Data", params={})
    assert FusedShapes(context(own))({"width": 32}) is None
