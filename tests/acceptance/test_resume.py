"""A job that was killed goes on from its record and ends like one that was left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from product import Product, Record, wait_until

MLFLOW_RUNS = """
    SELECT coalesce(number.value, 'job'), count(DISTINCT runs.run_uuid) FROM runs
    LEFT JOIN tags number ON number.run_uuid = runs.run_uuid AND number.key = 'tuneladder.trial'
    WHERE runs.lifecycle_stage = 'active' GROUP BY 1
"""

pytestmark = pytest.mark.slow  # real processes, started and ended again and again


def mlflow_rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True)) as connection:
        return list(connection.execute(query))


def kill_when(product: Product, record: Record, arguments: list[Any], *, legs: int) -> dict[str, tuple[Any, ...]]:
    """Start the command, end its whole tree once so many legs are on record, and give the legs that are."""
    started = product.start(*arguments)
    wait_until(lambda: record.count("legs") >= legs, what=f"{legs} legs are on record", process=started)
    started.kill_tree()
    started.assert_nothing_runs()
    assert record.states() == ["running"]
    return record.legs()


def assert_nothing_trained_twice(record: Record, snapshots: list[dict[str, tuple[Any, ...]]]) -> None:
    for earlier, later in zip(snapshots, [*snapshots[1:], record.legs()], strict=True):
        assert earlier.items() <= later.items()


def assert_no_duplicates_in_mlflow(home: Path, num_trials: int) -> None:
    counts = dict(mlflow_rows(home, MLFLOW_RUNS))
    assert counts == {"job": 1} | {str(number): 1 for number in range(num_trials)}
    twice = mlflow_rows(
        home, "SELECT run_uuid, key, step, count(*) FROM metrics GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    assert twice == []


def test_a_job_that_is_killed_again_and_again_ends_like_one_left_alone(
    product: Product, undisturbed: tuple[Record, Any]
) -> None:
    home, expected = product.folder / "home", undisturbed[0]
    total = expected.count("legs")
    arguments = ["run", product.write_spec(SMALL), "--home", home, "--engine", "local", "--json"]
    record = Record(home)

    points = [total // 2, total]
    snapshots = [kill_when(product, record, arguments, legs=legs) for legs in points]
    ended = product.run(*arguments)

    assert record.story() == expected.story()
    assert_nothing_trained_twice(record, snapshots)
    assert comparable(ended.json) == comparable(undisturbed[1])
    assert "going on from its record" in ended.err
    assert_no_duplicates_in_mlflow(home, ended.json["num_trials"])


def test_a_job_on_ray_that_is_killed_leaves_nothing_and_ends_like_one_left_alone(
    product: Product, undisturbed: tuple[Record, Any]
) -> None:
    home, expected = product.folder / "home", undisturbed[0]
    arguments = ["run", product.write_spec(SMALL), "--home", home, "--engine", "ray", "--slots", "2", "--json"]
    record = Record(home)

    snapshots = [kill_when(product, record, arguments, legs=expected.count("legs") // 2)]
    ended = product.run(*arguments)

    assert record.story() == expected.story()
    assert_nothing_trained_twice(record, snapshots)
    assert comparable(ended.json) == comparable(undisturbed[1])
    assert_no_duplicates_in_mlflow(home, ended.json["num_trials"])
    ended.assert_nothing_runs()


@pytest.mark.long
def test_one_slot_gives_the_same_trials_as_two_and_as_no_ray_at_all(
    product: Product, undisturbed: tuple[Record, Any]
) -> None:
    home = product.folder / "home"
    spec = product.write_spec(SMALL)
    ended = product.run("run", spec, "--home", home, "--engine", "ray", "--slots", "1", "--json")
    tables = [product.run("trials", "--home", h, "--json").json for h in (home, undisturbed[0].home)]
    assert Record(home).story() == undisturbed[0].story()
    assert tables[0] == tables[1]
    ended.assert_nothing_runs()


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """What `--json` says, without names, places and durations."""
    return {k: v for k, v in result.items() if k not in {"job_id", "bundle", "wall_s", "ray_init_s"}}
