"""Every strategy on every problem with every seed, spread over processes."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.replay.log import RunLog, run_key
from benchmarks.replay.metrics import summarize
from benchmarks.replay.problem import Problem
from benchmarks.replay.reference import Reference, find_reference
from benchmarks.replay.strategies import RunResult, run_strategy
from benchmarks.replay.surrogate import LCBench, LCBenchProblem
from benchmarks.replay.table import TableProblem

POINTS = (5, 10, 20, 40)  # full trainings


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One run, as a process of the pool gets it."""

    source: Path
    task: str
    strategy: str
    seed: int
    budget: int
    points: tuple[int, ...]


@functools.cache
def _open_lcbench(folder: Path) -> LCBench:
    return LCBench(folder)


@functools.cache
def _open_problem(source: Path, task: str) -> Problem:
    return LCBenchProblem(_open_lcbench(source), task) if source.is_dir() else TableProblem(source)


def _run(work: _Work) -> RunResult:
    return run_strategy(
        work.strategy,
        _open_problem(work.source, work.task),
        seed=work.seed,
        budget=work.budget,
        points=work.points,
    )


def _refer(problem: tuple[Path, str]) -> tuple[str, Reference]:
    return problem[1], find_reference(_open_problem(*problem))


def compare(
    problems: Sequence[tuple[Path, str]],
    *,
    strategies: Sequence[str],
    seeds: Sequence[int],
    budget: int,
    num_processes: int,
    log: RunLog | None = None,
) -> dict[str, Any]:
    """Run everything and summarize it.

    Args:
        problems: (source, task): a surrogate's folder and a task's id, or a table's path and its name.
        strategies: Names.
        seeds: One run for each.
        budget: In full trainings; regrets are reported at 5, 10, 20, 40 below it, and at it.
        num_processes: How many at once. Results do not depend on it.
        log: Runs that were made before; those that are made now join them.
    """
    log = log or RunLog(None)
    points = tuple(sorted({*(point for point in POINTS if point < budget), budget}))
    works = [
        _Work(source=source, task=task, strategy=strategy, seed=seed, budget=budget, points=points)
        for strategy, seed, (source, task) in itertools.product(strategies, seeds, problems)
    ]
    keys = {
        work: run_key(work.strategy, _open_problem(work.source, work.task), seed=work.seed, budget=work.budget)
        for work in works
    }
    results = {work: known for work in works if (known := log.find(keys[work])) is not None}
    missing = [work for work in works if work not in results]
    # Fresh processes: a fork would copy the threads of whatever the caller has imported.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        references = dict(pool.map(_refer, problems))
        running = {pool.submit(_run, work): work for work in missing}
        for done in as_completed(running):
            work = running[done]
            results[work] = done.result()
            log.add(keys[work], results[work])
            if len(results) % max(1, len(works) // 20) == 0:
                print(f"{len(results)}/{len(works)} runs", file=sys.stderr)
    return summarize([results[work] for work in works], references)
