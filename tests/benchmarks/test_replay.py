"""Replay: what a benchmark measures is what a job does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from planned_jobs import begin_planned_job

from benchmarks.replay.meter import Meter
from benchmarks.replay.service_strategy import make_spec, run_service_strategy
from benchmarks.replay.strategies import STRATEGIES, run_strategy
from benchmarks.replay.table import TableProblem
from service.engine.replay import ReplayEngine
from service.runner import Runner
from service.search import make_plan
from service.store import CheckpointFiles, Store, sqlite_url

DATA = Path(os.environ.get("TUNELADDER_DATA", Path(__file__).parents[2] / "../shared/data"))


@pytest.fixture
def table(tmp_path: Path) -> TableProblem:
    """A small grid with its best point off the default."""
    lr, width = np.array([1e-3, 1e-2, 1e-1]), np.array([16, 32, 64, 128])
    objective = np.abs(np.log10(lr)[:, None] + 2) + np.abs(np.log2(width)[None] - 6) / 10
    file = tmp_path / "grid.npz"
    np.savez(file, names=np.array(["lr", "width"]), axis_lr=lr, axis_width=width, objective=objective)
    return TableProblem(file)


def lcbench_problem():
    folder = DATA / "lcbench"
    if not folder.exists():
        pytest.skip(f"needs the LCBench surrogate in {folder}: set TUNELADDER_DATA")
    pytest.importorskip("onnxruntime", reason="the bench extra is not installed")
    from benchmarks.replay.surrogate import LCBench, LCBenchProblem

    lcbench = LCBench(folder)
    return LCBenchProblem(lcbench, lcbench.development_tasks[0])


@pytest.mark.parametrize("name", ["ladder", "joint", "random"])
def test_a_replayed_job_through_store_and_runner_asks_for_what_the_benchmark_measures(name, tmp_path) -> None:
    problem = lcbench_problem()
    meter = Meter(problem, 6 * problem.max_epochs)
    run_service_strategy(name, meter, seed=1)
    spec = make_spec(name, meter, seed=1)
    plan = make_plan(spec, problem.space, metric="val_accuracy", mode="max")
    with Store.open(sqlite_url(tmp_path / "store.db")) as store:
        job_id = begin_planned_job(store, plan, name="replay", seed=spec.seed)
        outcome = Runner(
            store=store,
            checkpoints=CheckpointFiles(tmp_path),
            job_id=job_id,
            plan=plan,
            space=problem.space,
            seed=spec.seed,
            engine=ReplayEngine(problem, metric="val_accuracy", max_epochs=problem.max_epochs),
        ).run()
    assert outcome.num_trials == meter.num_trainings
    assert outcome.num_epochs == meter.spent
    assert dict(outcome.best.params) == dict(meter.trajectory[-1][1])


@pytest.mark.parametrize("name", ["ladder", "joint", "random", "optuna_random", "optuna_tpe", "random_halving"])
def test_every_strategy_finds_the_best_point_of_a_small_table_that_it_can_exhaust(name, table) -> None:
    result = run_strategy(name, table, seed=0, budget=40, points=(40,))
    assert result.values[40] == pytest.approx(table.finals([{"lr": 1e-2, "width": 64}])[0])


def test_the_baselines_of_the_benchmark_are_those_that_are_promised() -> None:
    assert set(STRATEGIES) == {
        "ladder",
        "joint",
        "random",
        "optuna_random",
        "optuna_tpe",
        "optuna_tpe_defaults",
        "optuna_hyperband",
        "optuna_gp",
        "random_halving",
    }


def test_a_run_that_was_made_before_is_read_and_not_made_again(tmp_path, table, monkeypatch) -> None:
    from benchmarks.replay import log

    run = run_strategy("optuna_random", table, seed=0, budget=5, points=(5,))
    key = log.run_key("optuna_random", table, seed=0, budget=5)
    log.RunLog(tmp_path / "runs.jsonl").add(key, run)
    assert log.RunLog(tmp_path / "runs.jsonl").find(key) == run
    others = {
        log.run_key("optuna_random", table, seed=1, budget=5),
        log.run_key("ladder", table, seed=0, budget=5),
    }
    assert key not in others
    monkeypatch.setattr(log, "version", lambda name: "another Optuna")
    log._code.cache_clear()
    assert log.run_key("optuna_random", table, seed=0, budget=5) != key
    log._code.cache_clear()


def test_history_starts_a_job_from_what_won_on_the_other_problems(tmp_path: Path) -> None:
    from benchmarks.replay.history import compare

    axis = np.arange(8)
    off = [np.abs(axis - best) for best in (6, 1, 5)]
    objective = off[0][:, None, None] + off[1][None, :, None] + off[2][None, None]
    axes = {f"axis_{name}": axis for name in ("lr", "width", "depth")}
    np.savez(tmp_path / "grid.npz", names=np.array(["lr", "width", "depth"]), objective=objective, **axes)
    grid = TableProblem(tmp_path / "grid.npz")
    result = compare({"one": grid, "other": grid}, seeds=[0], budget=40)
    assert result["without"]["mean"]["5"] > result["without"]["mean"]["40"]
    # What the other one ended with is among the first five here.
    assert result["with"]["mean"]["5"] <= result["without"]["mean"]["40"]
    assert result["sign_test"]["5"] == {"wins": 2, "losses": 0, "p": 0.5}
