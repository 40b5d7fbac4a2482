"""Series from NumPy and CSV files: standardized steps, padding, and every way a file can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_modules.data import NpzSource, SeriesPreprocessor, SeriesSource, preprocessor_from_dict
from lightning_modules.errors import DataError


def _arrays(num_series: int = 40, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Series of 1 to 6 steps in 2 channels, of unlike units; what stands behind an end is not a number."""
    draw = np.random.default_rng(seed)
    x = draw.normal([5.0, -300.0], [0.5, 70.0], size=(num_series, 6, 2))
    lengths = 1 + np.arange(num_series) % 6
    x[np.arange(6) >= lengths[:, None]] = np.nan
    return {"x": x, "y": np.where(np.arange(num_series) % 2, "up", "down"), "lengths": lengths}


def _frame(arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """The same series in long form."""
    lines = [
        {"who": f"s{row}", "when": step, "a": x[0], "b": x[1], "kind": arrays["y"][row]}
        for row, length in enumerate(arrays["lengths"])
        for step, x in enumerate(arrays["x"][row, :length])
    ]
    return pd.DataFrame(lines)


def _numbers(names: pd.Series) -> pd.Series:
    return names.str[1:].astype(int)


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "series.npz", **arrays: Any) -> Path:
        path = tmp_path / name
        np.savez(path, **arrays)
        return path

    return write


def _csv(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def _source(path: Path, **fields: Any) -> SeriesSource:
    return SeriesSource(path=path, **{"series_id": "who", "target": "kind", "time": "when", **fields})


def test_channels_are_standardized_over_the_training_splits_own_steps(npz: Callable[..., Path]) -> None:
    data = NpzSource(path=npz(**_arrays())).read_training()
    series, lengths = data.train.inputs["series"], data.train.inputs["lengths"]
    assert (data.info.kind, data.info.num_features, data.info.max_length) == ("series", 2, 6)
    assert (series.dtype, lengths.dtype) == (np.float32, np.int64)
    inside = np.arange(series.shape[1]) < lengths[:, None]
    assert (series[~inside] == 0).all()
    steps = series[inside].astype(np.float64)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, atol=1e-5)
    validation = data.validation.inputs
    inside = np.arange(validation["series"].shape[1]) < validation["lengths"][:, None]
    assert np.abs(validation["series"][inside].mean(axis=0)).max() > 1e-3


def test_the_same_series_are_the_same_data_in_both_kinds_of_file(npz: Callable[..., Path], tmp_path: Path) -> None:
    arrays = _arrays()
    frame = _frame(arrays)
    shuffled = frame.sample(frac=1, random_state=1).sort_values("who", key=_numbers, kind="stable")
    from_npz = NpzSource(path=npz(**arrays)).read_training()
    from_csv = _source(_csv(tmp_path / "a.csv", frame), time=None, drop=("when",)).read_training()
    by_time = _source(_csv(tmp_path / "b.csv", shuffled)).read_training()
    assert from_npz.fingerprint == from_csv.fingerprint == by_time.fingerprint
    assert from_csv.preprocessing["channels"] == ["a", "b"]


def test_steps_are_ordered_by_dates_too(tmp_path: Path) -> None:
    frame = _frame(_arrays())
    expected = _source(_csv(tmp_path / "numbers.csv", frame)).read_training()
    dates = pd.Timestamp("2025-12-31T23:50:00+01:00") + pd.to_timedelta(frame["when"], unit="h")
    frame["when"] = [date.isoformat() for date in dates]
    backwards = frame.iloc[::-1].sort_values("who", key=_numbers, kind="stable")
    found = _source(_csv(tmp_path / "dates.csv", backwards)).read_training()
    assert found.fingerprint == expected.fingerprint


def test_lines_of_several_series_may_be_mixed_and_an_id_stays_a_text(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    ids = ["007", "7", "07", "8"] * 3
    lines = [f"{who},{row // 4},{row},{'ab'[row % 2]}" for row, who in enumerate(ids)]
    path.write_text("who,when,a,kind\n" + "\n".join(lines) + "\n")
    test = tmp_path / "test.csv"
    test.write_text("who,when,a,kind\nx,1,5,a\ny,1,6,b\nx,0,4,a\n")
    source = _source(path, test_path=test, validation_fraction=0.5)
    data, held_out = source.read_training(), source.read_test()
    assert (data.info.num_train, data.info.num_validation, len(held_out)) == (2, 2, 2)
    assert held_out.inputs["lengths"].tolist() == [2, 1]
    mean, std = data.preprocessing["mean"][0], data.preprocessing["std"][0]
    np.testing.assert_allclose(held_out.inputs["series"][0, :, 0] * std + mean, [4, 5], rtol=1e-6)


def test_a_number_as_target_is_a_regression(npz: Callable[..., Path]) -> None:
    arrays = _arrays()
    values = np.random.default_rng(1).normal(20, 4, size=40)
    data = NpzSource(path=npz(**arrays | {"y": values})).read_training()
    assert (data.info.task, data.info.num_outputs) == ("regression", 1)
    assert data.train.target.mean() == pytest.approx(0, abs=1e-6)
    few = NpzSource(path=npz("few.npz", **arrays | {"y": np.arange(40) % 3})).read_training()
    assert (few.info.task, few.info.class_names) == ("classification", ("0", "1", "2"))


def test_longer_series_lose_their_last_steps(npz: Callable[..., Path]) -> None:
    arrays = _arrays()
    data = NpzSource(path=npz(**arrays), max_length=3).read_training()
    cut = {"x": arrays["x"][:, :3], "y": arrays["y"], "lengths": np.minimum(arrays["lengths"], 3)}
    assert data.info.max_length == 3
    assert data.fingerprint == NpzSource(path=npz("cut.npz", **cut)).read_training().fingerprint
    preprocessor = preprocessor_from_dict(data.preprocessing)
    assert preprocessor.transform([np.ones((9, 2))])["series"].shape == (1, 3, 2)


def test_raw_series_become_the_same_inputs_through_the_stored_document(npz: Callable[..., Path]) -> None:
    arrays = _arrays()
    data = NpzSource(path=npz(**arrays)).read_training()
    preprocessor = preprocessor_from_dict(json.loads(json.dumps(data.preprocessing)))
    raw = [x[:length] for x, length in zip(arrays["x"], arrays["lengths"], strict=True)]
    inputs = preprocessor.transform(raw)
    known = {(row.tobytes(), length) for row, length in zip(inputs["series"], inputs["lengths"], strict=True)}
    train = zip(data.train.inputs["series"], data.train.inputs["lengths"], strict=True)
    assert all((row.tobytes(), length) in known for row, length in train)
    # A series longer than any in training keeps all of its steps.
    assert preprocessor.transform(np.ones((2, 30, 2)))["lengths"].tolist() == [30, 30]


def test_a_constant_channel_becomes_zero() -> None:
    steps = np.full((5, 1), 0.1)
    preprocessor = SeriesPreprocessor.fit([steps, steps[:3]], channels=("flat",), max_length=None)
    assert (preprocessor.transform([steps, steps + 1])["series"] == 0).all()


GOOD = _arrays()
WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no targets": ({"y": None}, "has x, lengths: write y too"),
    "a matrix": (
        {"x": np.ones((40, 6))},
        r"shape \(N, T, C\), .* has float64 of shape \(40, 6\): .*x\[:, :, None\]",
    ),
    "words": ({"x": np.full((40, 6, 2), "a")}, r"x is numbers .* has <U1 of shape"),
    "no steps": ({"x": np.ones((40, 0, 2))}, r"x is numbers .* shape \(40, 0, 2\)"),
    "ragged": (
        {"x": np.asarray([np.ones((1, 2)), np.ones((2, 2))], dtype=object)},
        "must be .npz with plain arrays",
    ),
    "too few targets": ({"y": GOOD["y"][:39]}, r"for each of 40 series, .* of shape \(39,\)"),
    "targets of two columns": ({"y": np.ones((40, 2))}, r"y is a number, .* of shape \(40, 2\)"),
    "a missing target": (
        {"y": np.where(np.arange(40) == 3, np.nan, np.arange(40))},
        "every row needs a target, 1 rows have none in 'y', the first is row 4",
    ),
    "a length of zero": ({"lengths": GOOD["lengths"] - 1}, r"1 <= lengths <= 6 must hold, .* lengths\[0\] = 0"),
    "a length beyond": ({"lengths": GOOD["lengths"] + 1}, r"1 <= lengths <= 6 .* lengths\[5\] = 7"),
    "lengths of another count": ({"lengths": np.ones(3, dtype=int)}, r"for each of 40 series, .* shape \(3,\)"),
    "lengths that are fractions": ({"lengths": np.ones(40)}, "lengths are a whole number .* has float64"),
    "no number inside": (
        {"lengths": np.full(40, 6)},
        r"every value of a series is a finite number, .* has x\[0, 1, 0\] = nan",
    ),
    "one class": ({"y": np.full(40, "up")}, "classification needs at least 2 classes, got 'up'"),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_wrong_arrays_are_answered_with_rule_value_and_remedy(case: str, npz: Callable[..., Path]) -> None:
    changed, message = WRONG_ARRAYS[case]
    arrays = {name: array for name, array in (GOOD | changed).items() if array is not None}
    with pytest.raises(DataError, match=f"^path: .*{message}"):
        NpzSource(path=npz(**arrays)).read_training()


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04 cut", b""])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "series.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"^path: .*series\.npz"):
        NpzSource(path=tmp_path / "series.npz").read_training()


def test_a_truncated_or_single_array_is_refused(npz: Callable[..., Path], tmp_path: Path) -> None:
    path = npz(**GOOD)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"^path: the file must be .npz with plain arrays"):
        NpzSource(path=path).read_training()
    np.save(tmp_path / "one.npy", np.ones((4, 3, 2)))
    with pytest.raises(DataError, match=r"^path: a .npz file holds arrays by name, .*one.npy is a single array"):
        NpzSource(path=tmp_path / "one.npy").read_training()


def test_a_test_file_with_other_channels_is_told_before_the_search(npz: Callable[..., Path]) -> None:
    other = npz("test.npz", x=np.ones((4, 6, 3)), y=np.asarray(["up"] * 4))
    with pytest.raises(DataError, match=r"^test_path: .* same channels, got 2 and 3"):
        NpzSource(path=npz(**GOOD), test_path=other).read_training()


LINES = _frame(GOOD)


def _with(column: str, row: int, value: object) -> pd.DataFrame:
    frame = LINES.astype({column: object})
    frame.loc[row, column] = value
    return frame


WRONG_LINES: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "no id": (_with("who", 4, None), {}, "path: every line belongs to a series, row 5 has none in 'who'"),
    "a text among the numbers": (
        _with("a", 2, "high"),
        {},
        "path: every value of a series is a finite number, column 'a' has 'high' in row 3: fill it in",
    ),
    "a gap": (_with("b", 6, None), {}, "path: every value .* column 'b' has nan in row 7"),
    "an infinite value": (_with("b", 6, np.inf), {}, "path: every value .* column 'b' has inf in row 7"),
    "a time that is none": (
        _with("when", 1, "later"),
        {},
        "path: a time is a number or a date .*'later' in row 2",
    ),
    "no time": (_with("when", 1, None), {}, "path: a time is .* has nan in row 2"),
    "a time twice": (
        _with("when", 2, 0),
        {},
        "path: .* times that differ, series 's1' has 0 twice, again in row 3: correct it",
    ),
    "two targets": (
        _with("kind", 2, "down"),
        {},
        "target: a series has one target in all of its lines, series 's1' has up and in row 3 down",
    ),
    "no target": (_with("kind", 2, None), {}, "target: every row needs a target, .* the first is row 3"),
    "an absent id": (LINES, {"series_id": "whom"}, "series_id: .* 'whom', it has not: did you mean 'who'"),
    "an absent time": (LINES, {"time": "whenn"}, "time: .* did you mean 'when'"),
    "an absent column to drop": (LINES, {"drop": ("c",)}, "drop: .* must have the column 'c'"),
    "no channel": (LINES, {"drop": ("a", "b")}, "drop: at least one channel must be left"),
    "two roles": (LINES, {"drop": ("when",)}, "drop: a column has one role, 'when' is time too"),
    "no steps kept": (LINES, {"max_length": 0}, "max_length: max_length >= 1 must hold, got 0"),
    "no memory": (LINES, {"memory_limit_gib": 0.0}, "memory_limit_gib: memory_limit_gib > 0 must hold"),
    "little memory": (
        LINES,
        {"memory_limit_gib": 1e-6},
        "memory_limit_gib: .* 40 series of 6 x 2 values are 1.79e-06 GiB .* is 1e-06 GiB: set max_length, or",
    ),
    "an empty table": (LINES[[]], {}, "path: the table must have a header"),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_wrong_lines_are_answered_with_rule_value_and_remedy(case: str, tmp_path: Path) -> None:
    frame, fields, message = WRONG_LINES[case]
    path = _csv(tmp_path / "lines.csv", frame)
    with pytest.raises(DataError, match=f"^{message}"):
        _source(path, **fields).read_training()


def test_a_wrong_test_file_of_lines_is_told_under_its_own_field(tmp_path: Path) -> None:
    path = _csv(tmp_path / "lines.csv", LINES)
    for frame, message in (
        (_with("a", 2, "high"), "column 'a' has 'high' in row 3"),
        (_with("kind", 2, "down"), "a series has one target"),
        (LINES.drop(columns="b"), "the training file's columns, .* absent: b"),
        (LINES.assign(kind="sideways"), "classes of the training split only, got 40 rows of 'sideways'"),
    ):
        test = _csv(tmp_path / "test.csv", frame)
        with pytest.raises(DataError, match=f"^test_path: .*{message}"):
            _source(path, test_path=test).read_training()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.ones((4, 2)), r"an array \(N, T, C\) or a list of arrays \(T, C\), got an array of shape \(4, 2\)"),
        ([np.ones((4, 3))], r"numbers of shape \(T, 2\), a column for each of a, b, series 1 is float64 of shape"),
        ([np.ones((4, 2)), [[1.0, 2.0], [1.0]]], "the same channels, series 2 is ragged"),
        ([np.ones((0, 2))], "series 1 has none: leave it out"),
        ([np.asarray([[1.0, np.nan]])], "series 1 has nan in step 1 of channel 'b'"),
        ([np.asarray([["x", "y"]])], "series 1 is <U1"),
    ],
)
def test_what_is_no_series_is_refused(raw: Any, message: str) -> None:
    preprocessor = SeriesPreprocessor(channels=("a", "b"), mean=(0.0, 0.0), std=(1.0, 1.0), longest=4)
    with pytest.raises(DataError, match=f"^series: .*{message}"):
        preprocessor.transform(raw)
