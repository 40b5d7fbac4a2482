"""Seeded, stratified splits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data import BuiltinSource, split_rows
from lightning_modules.errors import DataError


def _labels(counts: dict[str, int]) -> list[str]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [labels[i] for i in np.random.default_rng(0).permutation(len(labels))]


def test_ten_thousand_rows_give_exactly_the_shares_that_were_asked_for() -> None:
    labels = _labels({"a": 1135, "b": 980, "c": 892, "d": 1009, "e": 1032, "f": 4952})
    split = split_rows(10_000, labels=labels, validation_fraction=0.1, test_fraction=0.1, seed=3)
    assert (len(split.train), len(split.validation), len(split.test)) == (8_000, 1_000, 1_000)


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=8),
    validation=st.floats(0.02, 0.6),
    test=st.floats(0.02, 0.35),
    has_test_file=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_splits_hold_every_row_once_and_every_class_in_each(
    counts: list[int], validation: float, test: float, has_test_file: bool, seed: int
) -> None:
    labels = _labels({f"class {i}": count for i, count in enumerate(counts)})
    split = split_rows(
        len(labels),
        labels=labels,
        validation_fraction=validation,
        test_fraction=None if has_test_file else test,
        seed=seed,
    )
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for rows in (split.train, split.validation) if has_test_file else (split.train, split.validation, split.test):
        assert {labels[row] for row in rows} == set(labels)
        assert np.all(np.diff(rows) > 0)
    assert not (has_test_file and len(split.test))


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(40, 400), min_size=2, max_size=6), seed=st.integers(0, 1000))
def test_each_class_has_its_share_up_to_one_row(counts: list[int], seed: int) -> None:
    labels = _labels({str(i): count for i, count in enumerate(counts)})
    split = split_rows(len(labels), labels=labels, validation_fraction=0.2, test_fraction=0.1, seed=seed)
    for rows, fraction in ((split.validation, 0.2), (split.test, 0.1)):
        found = np.unique([labels[row] for row in rows], return_counts=True)
        for label, count in zip(*found, strict=True):
            assert abs(count - fraction * counts[int(label)]) < 1
        assert len(rows) == int(len(labels) * fraction + 0.5)


def test_the_same_seed_gives_the_same_rows_for_ever() -> None:
    """The numbers were written down once: whoever changes them changes everybody's results."""
    split = split_rows(20, labels=["a", "b"] * 10, validation_fraction=0.2, test_fraction=0.2, seed=7)
    assert (split.validation.tolist(), split.test.tolist()) == ([4, 9, 10, 13], [3, 6, 11, 12])
    split = split_rows(12, labels=None, validation_fraction=0.25, test_fraction=0.25, seed=0)
    assert (split.validation.tolist(), split.test.tolist()) == ([1, 6, 8], [2, 3, 11])


def test_another_seed_gives_other_rows() -> None:
    first, second = (
        split_rows(500, labels=None, validation_fraction=0.2, test_fraction=0.2, seed=seed) for seed in (0, 1)
    )
    assert set(first.test) != set(second.test)
    assert len(first.test) == len(second.test) == 100


@pytest.mark.parametrize(("test_fraction", "splits", "few"), [(0.2, 3, 2), (None, 2, 1)])
def test_a_class_with_too_few_examples_is_named_with_rule_and_remedy(
    test_fraction: float | None, splits: int, few: int
) -> None:
    labels = ["cat"] * 20 + ["unicorn"] * few
    message = (
        rf"target: every class needs at least {splits} examples, .* got {few} of class 'unicorn': add examples"
    )
    with pytest.raises(DataError, match=message) as caught:
        split_rows(
            len(labels),
            labels=labels,
            validation_fraction=0.2,
            test_fraction=test_fraction,
            seed=0,
            label_field="target",
        )
    assert caught.value.field == "target"


def test_a_regression_with_too_few_rows_is_refused() -> None:
    with pytest.raises(DataError, match="at least 3 rows are needed, one for each of the 3 splits, got 2"):
        split_rows(2, labels=None, validation_fraction=0.2, test_fraction=0.2, seed=0)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"validation_fraction": 0.0}, r"0 < validation_fraction < 1 must hold, got 0.0"),
        ({"test_fraction": 1.5}, r"0 < test_fraction < 1 must hold, got 1.5"),
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, r"\+ test_fraction < 1 must hold, got 0.6 \+ 0.4"),
        ({"split_seed": -1}, r"split_seed >= 0 must hold, got -1"),
    ],
)
def test_impossible_shares_are_refused(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BuiltinSource(name="wine", **fractions)  # type: ignore[arg-type]


def _row_hashes(split: object) -> list[str]:
    inputs, target = split.inputs, split.target  # type: ignore[attr-defined]
    return [
        hashlib.sha256(
            b"".join(inputs[name][row].tobytes() for name in sorted(inputs)) + bytes([target[row]])
        ).hexdigest()
        for row in range(len(target))
    ]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), validation=st.sampled_from([0.1, 0.3]), test=st.sampled_from([0.1, 0.4]))
def test_no_test_row_is_anywhere_in_the_training_data(seed: int, validation: float, test: float) -> None:
    """Rows by content: the three splits of a set without twins are disjoint and complete."""
    source = BuiltinSource(
        name="breast_cancer", validation_fraction=validation, test_fraction=test, split_seed=seed
    )
    data = source.read_training()
    splits = [set(_row_hashes(split)) for split in (data.train, data.validation, source.read_test())]
    assert [len(rows) for rows in splits[:2]] == [data.info.num_train, data.info.num_validation]
    assert len(splits[0] | splits[1] | splits[2]) == sum(map(len, splits)) == 569
