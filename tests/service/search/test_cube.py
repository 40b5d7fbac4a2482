"""Spaces as arrays: rows and params say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Float, Int, SearchSpace, get_space
from service.search.cube import Cube


@settings(deadline=None)
@given(st.sampled_from(["mlp", "cnn", "rnn"]), st.integers(0, 10_000))
def test_snapping_a_row_does_what_reading_and_placing_it_does(family: str, seed: int) -> None:
    cube = Cube(get_space(family))
    rows = np.random.default_rng(seed).random((20, len(get_space(family))))
    placed = np.array([cube.row(cube.params(row)) for row in rows])
    np.testing.assert_allclose(cube.snap(rows), placed, atol=1e-9)


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_and_edges_snap_to_what_exists(log: bool) -> None:
    space = SearchSpace(name="s", parameters=(Int(name="n", low=1, high=9, log=log, default=3, why="w"),))
    cube = Cube(space)
    rows = np.linspace(-0.2, 1.2, 57)[:, None]
    values = [cube.params(row)["n"] for row in cube.snap(rows)]
    assert values == sorted(values)
    assert set(values) == set(range(1, 10))


def test_a_model_sees_one_column_for_a_scale_and_one_for_each_unordered_choice() -> None:
    space = SearchSpace(
        name="s",
        parameters=(
            Float(name="a", low=0.0, high=2.0, default=1.0, why="w"),
            Choice(name="b", choices=("x", "y", "z"), default="x", why="w"),
            Choice(name="c", choices=(1, 2), ordered=True, default=1, why="w"),
        ),
    )
    cube = Cube(space)
    columns = cube.columns(np.array([cube.row({"a": 0.5, "b": "y", "c": 2})]))
    np.testing.assert_allclose(columns, [[0.25, 0, 1, 0, 0.75]])
    assert columns.shape[1] == cube.num_columns
    assert cube.first_columns.tolist() == [0, 1, 4]
    assert cube.unordered.tolist() == [False, True, False]
