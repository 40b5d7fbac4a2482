"""Runs that were made before: a benchmark of hours goes on where it stopped, and baselines are not run again."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.replay.problem import Problem
from benchmarks.replay.service_strategy import SERVICE_STRATEGIES
from benchmarks.replay.strategies import RunResult

_ROOT = Path(__file__).parents[2]
_SHARED = ("benchmarks/replay/meter.py", "benchmarks/replay/problem.py", "benchmarks/replay/strategies.py")
# Whatever decides a run: a change in it makes the runs before it another strategy's.
_OWN = ("benchmarks/replay/service_strategy.py", "service/search", "search_spaces", "service/spec.py")
_BASELINE = ("benchmarks/replay/baselines.py",)


def run_key(strategy: str, problem: Problem, *, seed: int, budget: int) -> str:
    """Name a run by everything that its result follows from."""
    parts = [strategy, problem.fingerprint, problem.name, str(seed), str(budget), _code(strategy)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _code(strategy: str) -> str:
    digest = hashlib.sha256(version("optuna").encode())
    for place in (*_SHARED, *(_OWN if strategy in SERVICE_STRATEGIES else _BASELINE)):
        for file in _python_files(_ROOT / place):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _python_files(place: Path) -> Iterable[Path]:
    return [place] if place.is_file() else sorted(place.glob("**/*.py"))


class RunLog:
    """Finished runs in a file, a line of JSON each.

    Args:
        path: The file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, RunResult] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else ():
            body = json.loads(line)
            values = {int(point): value for point, value in body["run"].pop("values").items()}
            self._known[body["key"]] = RunResult(values=values, **body["run"])

    def find(self, key: str) -> RunResult | None:
        """Give a run that was made before."""
        return self._known.get(key)

    def add(self, key: str, run: RunResult) -> None:
        """Keep a run."""
        self._known[key] = run
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "run": asdict(run)}) + "\n")
