"""CSV and Parquet files: what becomes of columns and targets, and every way a table can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_modules.data import TableSource, TabularPreprocessor, preprocessor_from_dict
from lightning_modules.errors import DataError

WriteCsv = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteCsv:
    def write_csv(text: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_csv


def _frame(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, num_rows),
            "income": rng.normal(3e4, 1e4, num_rows).round(2),
            "constant": 0.1,
            "city": rng.choice(["Ulm", "Bonn", "Köln"], num_rows),
            "member": rng.random(num_rows) < 0.5,
            "bought": np.arange(num_rows) % 3 == 0,
        }
    )


def _source(path: Path, **fields: Any) -> TableSource:
    return TableSource(path=path, **{"format": "csv", "target": "bought", **fields})


def test_csv_and_parquet_give_the_same_data(tmp_path: Path) -> None:
    frame = _frame()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    from_csv = _source(tmp_path / "t.csv").read_training()
    from_parquet = _source(tmp_path / "t.parquet", format="parquet").read_training()
    assert from_csv.fingerprint == from_parquet.fingerprint
    assert from_csv.preprocessing == from_parquet.preprocessing


def test_numbers_are_standardized_and_text_and_booleans_are_coded(tmp_path: Path) -> None:
    _frame().to_csv(tmp_path / "t.csv", index=False)
    data = _source(tmp_path / "t.csv").read_training()
    assert (data.info.num_features, data.info.cardinalities) == (3, (4, 3))
    assert data.info.class_names == ("False", "True")
    numeric = data.train.inputs["numeric"].astype(np.float64)
    np.testing.assert_allclose(numeric[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(numeric[:, :2].std(axis=0), 1, atol=1e-6)
    assert not numeric[:, 2].any()  # the constant column
    categories = data.train.inputs["categories"]
    assert categories.dtype == np.int64
    assert set(categories[:, 0]) == {1, 2, 3}
    assert set(categories[:, 1]) == {1, 2}


def test_a_missing_number_is_the_training_mean_and_is_marked(write: WriteCsv) -> None:
    lines = [f"{'' if i % 4 == 0 else i},{i % 2},{'xy'[i % 2]}" for i in range(60)]
    data = _source(write("a,b,bought\n" + "\n".join(lines)), drop=("b",)).read_training()
    assert data.info.num_features == 2
    value, is_missing = data.train.inputs["numeric"].T
    assert set(is_missing) == {0.0, 1.0}
    assert not value[is_missing == 1].any()
    assert value[is_missing == 0].astype(np.float64).mean() == pytest.approx(0, abs=1e-6)


def test_a_number_missing_only_later_is_the_mean_without_a_mark() -> None:
    preprocessor = TabularPreprocessor.fit(pd.DataFrame({"a": [1.0, 3.0]}))
    inputs = preprocessor.transform([{"a": None}, {"a": 3}, {"a": ""}, {"a": "1"}])
    np.testing.assert_array_equal(inputs["numeric"], [[0.0], [1.0], [0.0], [-1.0]])


def test_a_column_that_is_constant_in_training_is_zero_for_ever() -> None:
    preprocessor = TabularPreprocessor.fit(pd.DataFrame({"a": [0.1] * 30, "b": range(30)}))
    assert not preprocessor.transform([[0.1, 2], [1e9, 3], [None, 4]])["numeric"][:, 0].any()


def test_an_unknown_or_missing_category_is_code_zero() -> None:
    preprocessor = TabularPreprocessor.fit(pd.DataFrame({"city": ["Ulm", "Bonn", None]}))
    inputs = preprocessor.transform([{"city": city} for city in ("Ulm", "Bonn", "Rome", None, "", float("nan"))])
    np.testing.assert_array_equal(inputs["categories"][:, 0], [2, 1, 0, 0, 0, 0])
    assert inputs["numeric"].shape == (6, 0)


def test_one_value_has_one_code_whatever_type_it_comes_in(write: WriteCsv) -> None:
    rows = "\n".join(f"{i % 3},{i % 2 == 0},{i % 2}" for i in range(30))
    source = _source(write(f"grade,flag,bought\n{rows}\n"), categorical=("grade",))
    preprocessor = preprocessor_from_dict(source.read_training().preprocessing)
    forms: list[Any] = [
        {"grade": 2, "flag": True},
        {"grade": 2.0, "flag": np.True_},
        {"grade": "2", "flag": "true"},
    ]
    codes = preprocessor.transform(forms)["categories"]
    assert {tuple(row) for row in codes.tolist()} == {(3, 2)}
    frame = pd.DataFrame({"flag": [True], "grade": [2.0]})
    np.testing.assert_array_equal(preprocessor.transform(frame)["categories"], [[3, 2]])


def test_a_categorical_column_keeps_its_leading_zeros(write: WriteCsv) -> None:
    rows = "\n".join(f"0{i % 3},{i % 2}" for i in range(30))
    test = write("zip,bought\n01,1\n1,0\n", "test.csv")
    source = _source(write(f"zip,bought\n{rows}\n"), categorical=("zip",), test_path=test)
    assert source.read_training().preprocessing["categories"] == [{"name": "zip", "values": ["00", "01", "02"]}]
    np.testing.assert_array_equal(source.read_test().inputs["categories"], [[2], [0]])


def test_raw_rows_in_every_form_become_the_inputs_of_training(tmp_path: Path) -> None:
    """What a bundle does: JSON, then rows as a frame, mappings or lists."""
    frame = _frame()
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = _source(tmp_path / "t.csv").read_training()
    preprocessor = preprocessor_from_dict(json.loads(json.dumps(data.preprocessing)))
    features = frame.drop(columns="bought")
    expected = preprocessor.transform(frame)  # further columns are ignored
    for raw in (features.to_dict("records"), features.to_numpy(dtype=object), features.values.tolist()):
        found = preprocessor.transform(raw)
        for name in ("numeric", "categories"):
            np.testing.assert_array_equal(found[name], expected[name])
    known = {row.tobytes() for row in expected["numeric"]}
    assert all(row.tobytes() in known for row in data.train.inputs["numeric"])
    assert preprocessor.transform([])["numeric"].shape == (0, 3)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([{"b": 1}], "absent: a: give them, with None"),
        ([[1.0, 2.0], [1.0]], r"a value for each of 2 columns \(a, b\), got 1 in row 2"),
        (
            [{"a": 1, "b": 2}, {"a": "tall", "b": 2}],
            "column 'a' must hold numbers as in training, got 'tall' in row 2",
        ),
        ([[1.0, float("inf")]], "column 'b' must hold finite numbers, got inf in row 1"),
    ],
)
def test_raw_rows_that_do_not_fit_are_refused(raw: Any, message: str) -> None:
    preprocessor = TabularPreprocessor.fit(pd.DataFrame({"a": [1.0, 3.0], "b": [1.0, 2.0]}))
    with pytest.raises(DataError, match=message):
        preprocessor.transform(raw)


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        (["no", "yes"], "classification", ("no", "yes")),
        (["True", "False"], "classification", ("False", "True")),
        ([10, 9, 2], "classification", ("2", "9", "10")),
        (list(range(21)), "regression", ()),
        ([0.5, 1.5], "regression", ()),
        ([1.0, 2.0], "regression", ()),
    ],
)
def test_the_task_follows_from_the_target(
    write: WriteCsv, values: list[Any], task: str, names: tuple[str, ...]
) -> None:
    rows = "\n".join(f"{i * 0.5},{values[i % len(values)]}" for i in range(105))
    info = _source(write(f"x,bought\n{rows}\n")).read_training().info
    assert (info.task, info.class_names) == (task, names)


def test_a_test_file_is_the_test_split_and_the_rest_is_split_in_two(tmp_path: Path) -> None:
    frame = _frame(100)
    frame.iloc[:80].to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[80:].sample(frac=1, axis=1, random_state=0).to_csv(tmp_path / "test.csv", index=False)
    source = _source(tmp_path / "train.csv", test_path=tmp_path / "test.csv", validation_fraction=0.25)
    data, test = source.read_training(), source.read_test()
    assert (len(data.train), len(data.validation), len(test)) == (60, 20, 20)
    np.testing.assert_array_equal(test.target, frame["bought"].iloc[80:].astype(int))
    preprocessor = preprocessor_from_dict(data.preprocessing)
    np.testing.assert_array_equal(test.inputs["numeric"], preprocessor.transform(frame.iloc[80:])["numeric"])


def test_nothing_is_fitted_on_validation_or_test_rows(tmp_path: Path) -> None:
    """Rows outside the training split may change as they like: what was fitted stays."""
    frame = _frame(100)
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = _source(tmp_path / "t.csv")
    before = source.read_training()
    trained = {row.tobytes() for row in before.train.inputs["numeric"]}
    inputs = preprocessor_from_dict(before.preprocessing).transform(frame)["numeric"]
    outside = np.asarray([row.tobytes() not in trained for row in inputs])
    assert outside.sum() == 30
    frame.loc[outside, "income"] = 1e9
    frame.loc[outside, "city"] = "Atlantis"
    frame.to_csv(tmp_path / "t.csv", index=False)
    after = source.read_training()
    assert after.preprocessing == before.preprocessing
    for name in ("numeric", "categories"):
        np.testing.assert_array_equal(after.train.inputs[name], before.train.inputs[name])
    assert not after.validation.inputs["categories"][:, 0].any()
    assert after.fingerprint != before.fingerprint


_GOOD = "\n".join(f"{i},{i % 7},{'ab'[i % 2]}" for i in range(30))


def _with_row(row: int, line: str) -> str:
    lines = _GOOD.split("\n")
    lines[row - 1] = line
    return "x,y,bought\n" + "\n".join(lines) + "\n"


_EACH_DIFFERENT = "x,name,bought\n" + "\n".join(f"{i},user{i},{'ab'[i % 2]}" for i in range(100))

WRONG_FILES: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, r"path: the file must hold data, .*table.csv is empty"),
    "blank lines only": ("\n\n", {}, "path: the table must have a header"),
    "header only": ("x,bought\n", {}, "path: the table must have rows, .* has a header only"),
    "target absent": (
        _with_row(1, "0,0,a"),
        {"target": "boght"},
        "target: .*column 'boght', it has not: did you mean 'bought'",
    ),
    "target absent, none near": (
        _with_row(1, "0,0,a"),
        {"target": "zzz"},
        "target: .*the columns are x, y, bought",
    ),
    "dropped column absent": (_with_row(1, "0,0,a"), {"drop": ("z",)}, "drop: .* must have the column 'z'"),
    "categorical column absent": (_with_row(1, "0,0,a"), {"categorical": ("z",)}, "categorical: .*column 'z'"),
    "nothing left": (
        _with_row(1, "0,0,a"),
        {"drop": ("x", "y")},
        "drop: at least one feature column must be left",
    ),
    "short row": (_with_row(4, "3,3"), {}, "each of 3 columns, .* has 2 in line 5: fix the row"),
    "long row": (_with_row(4, "3,3,b,9"), {}, "each of 3 columns, .* has 4 in line 5: fix the row, and quote"),
    "text among numbers": (
        _with_row(7, "unknown,6,a"),
        {},
        "categorical: column 'x' must hold numbers .* 29 of 30 .* row 7 is 'unknown': fix .* categorical or drop",
    ),
    "infinite feature": (_with_row(7, "inf,6,a"), {}, "column 'x' must hold finite numbers, got inf in row 7"),
    "missing target": (
        _with_row(9, "8,1,"),
        {},
        "target: every row needs a target, 1 rows have none in 'bought', the first is row 9",
    ),
    "no number in a regression target": (
        _with_row(9, "8,1,?"),
        {"task": "regression"},
        "target: a regression target is a finite number, got 'a' in row 1",
    ),
    "infinite regression target": (
        _with_row(9, "8,inf,b"),
        {"target": "y", "drop": ("bought",)},
        "target: .* finite number, got inf in row 9 of 'y'",
    ),
    "constant regression target": (
        "x,bought\n" + "\n".join(f"{i},2.5" for i in range(30)),
        {},
        "target: a regression target must vary .* got 2.5 in all 20 rows",
    ),
    "target beyond float64": (
        "x,bought\n" + "\n".join(f"{i},{i}.5e300" for i in range(30)),
        {},
        "target: a regression target's variance must be finite, the largest is .*e.30.: give it in a larger unit",
    ),
    "feature beyond float64": (
        "x,bought\n" + "\n".join(f"{i}.5e300,{'ab'[i % 2]}" for i in range(30)),
        {},
        "drop: a column's variance must be finite, the largest of 'x' is .*e.30.: give it in a larger unit",
    ),
    "one class": (
        _GOOD.replace("b", "a").join(["x,y,bought\n", "\n"]),
        {},
        "target: classification needs at least 2 classes, got 'a'",
    ),
    "class with one example": (
        _with_row(3, "2,2,rare"),
        {},
        "target: every class needs at least 3 examples, .* got 1 of class 'rare'",
    ),
    "too many classes": (
        _EACH_DIFFERENT,
        {"target": "name"},
        "target: a class must stand in each of the 3 splits, 100 rows .* task: regression",
    ),
    "identifier": (_EACH_DIFFERENT, {}, "drop: a category must repeat .* column 'name' has 70 values in 70 rows"),
    "empty column": (
        "x,y,bought\n" + "\n".join(f"{i},,{'ab'[i % 2]}" for i in range(30)),
        {},
        "drop: a column needs at least one value in the training split, 'y' has none",
    ),
    "same name twice": ("x,x,bought\n1,2,a\n", {}, "column names must differ, .* repeats 'x'"),
    "column without a name": (
        ",x,bought\n0,2,a\n",
        {},
        "every column needs a name, column 1 of .* without its index",
    ),
    "semicolons": ("x;bought\n1;a\n", {}, "separated by commas, the header of .* is 'x;bought'"),
    "not UTF-8": ("stadt,bought\nKöln,a\n".encode("latin-1"), {}, "a CSV file must be UTF-8, .* has byte 0xf6"),
    "open quote": ('x,bought\n"1,a\n2,b\n', {}, "the file must be CSV, .*unexpected end of data"),
    "two roles": (
        _with_row(1, "0,0,a"),
        {"drop": ("x",), "categorical": ("x",)},
        "drop: a column has one role, 'x' is categorical too",
    ),
    "target dropped": (
        _with_row(1, "0,0,a"),
        {"drop": ("bought",)},
        "drop: a column has one role, 'bought' is the target too",
    ),
    "unknown format": ("", {"format": "xlsx"}, "format is csv or parquet, got 'xlsx'"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_table_is_answered_with_rule_value_and_remedy(case: str, write: WriteCsv) -> None:
    text, fields, message = WRONG_FILES[case]
    path = write(text)
    with pytest.raises(DataError, match=message):
        _source(path, **fields).read_training()


def test_a_mistake_is_found_whichever_split_its_row_falls_into(write: WriteCsv) -> None:
    for row in range(1, 31):
        with pytest.raises(DataError, match=f"column 'x' must hold numbers .* row {row} is 'oops'"):
            _source(write(_with_row(row, f"oops,1,{'ab'[(row - 1) % 2]}"))).read_training()


def test_text_among_numbers_is_accepted_when_it_is_declared(write: WriteCsv) -> None:
    path = write(_with_row(7, "unknown,6,a"))
    assert _source(path, drop=("x",)).read_training().info.num_features == 1
    assert len(_source(path, categorical=("x",)).read_training().info.cardinalities) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"path: the file must exist, .*nowhere.csv does not"):
        _source(tmp_path / "nowhere.csv").read_training()
    with pytest.raises(DataError, match=r"path: a file is needed, .* is a folder"):
        _source(tmp_path).read_training()


def test_a_file_that_is_not_parquet_is_refused(write: WriteCsv) -> None:
    with pytest.raises(DataError, match="path: the file must be Parquet"):
        _source(write(_with_row(1, "0,0,a")), format="parquet").read_training()


def test_dates_and_nested_values_are_no_features(tmp_path: Path) -> None:
    frame = _frame()
    frame["day"] = pd.Timestamp("2020-01-01")
    frame.to_parquet(tmp_path / "dates.parquet")
    with pytest.raises(DataError, match=r"drop: a feature is a number, .* column 'day' is datetime64"):
        _source(tmp_path / "dates.parquet", format="parquet").read_training()
    frame["day"] = [[1, 2]] * len(frame)
    frame.to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(DataError, match=r"column 'day' holds ndarray array\(\[1, 2\]\)"):
        _source(tmp_path / "lists.parquet", format="parquet").read_training()


WRONG_TEST_FILES = {
    "another set of columns": ("x,z,bought\n1,2,a\n", "test_path: .* absent: y; not in training: z"),
    "a class that training never saw": (
        "x,y,bought\n1,2,a\n3,4,c\n",
        "test_path: the test split .* got 1 rows of 'c'; training has 'a', 'b'",
    ),
    "text among the numbers": (
        "x,y,bought\n1,2,a\nfour,2,b\n",
        "^test_path: column 'x' must hold numbers as in training, got 'four' in row 2",
    ),
    "an infinite number": (
        "x,y,bought\n1,inf,a\n",
        "^test_path: column 'y' must hold finite numbers, got inf in row 1",
    ),
    "no rows": ("x,y,bought\n", "test_path: the table must have rows"),
    "a missing target": ("x,y,bought\n1,2,\n", "test_path: every row needs a target, 1 rows"),
}


@pytest.mark.parametrize("case", WRONG_TEST_FILES)
def test_a_wrong_test_file_is_told_before_the_search(case: str, write: WriteCsv) -> None:
    text, message = WRONG_TEST_FILES[case]
    source = _source(write(_with_row(1, "0,0,a")), test_path=write(text, "test.csv"))
    with pytest.raises(DataError, match=message):
        source.read_training()


def test_nullable_columns_of_parquet_are_numbers_and_categories_too(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "count": pd.array([1, None, 3] * 10, dtype="Int64"),
            "flag": pd.array([True, None, False] * 10, dtype="boolean"),
            "size": pd.Categorical(["s", "m", "l"] * 10),
            "bought": ["a", "b"] * 15,
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    data = _source(tmp_path / "t.parquet", format="parquet").read_training()
    assert (data.info.num_features, data.info.cardinalities) == (2, (3, 4))
    assert data.preprocessing["categories"][0]["values"] == ["False", "True"]
    assert 0 in data.train.inputs["categories"][:, 0]
