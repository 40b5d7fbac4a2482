"""The two values that a problem's regret is measured between: best known and median of random."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.replay.problem import Problem, draw, draw_near
from benchmarks.replay.table import TableProblem

NUM_RANDOM = 10_000  # draws; their median is regret 1
NUM_STARTS = 16  # the best of them are climbed from
NUM_NEIGHBOURS = 32  # of each start in each step
STEP_SCALES = (0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.02, 0.02, 0.01, 0.01)  # shares of a range, each used 3 times
_VERSION = 1  # of the recipe above: a cache of another one is not read


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Higher is better, in the problem's own unit."""

    best: float
    median: float


def find_reference(problem: Problem, cache: Path | None = None) -> Reference:
    """Look best and median up in the cache, or compute them and write them there.

    Args:
        problem: The problem. Of a table all values are known; else a large random sample, and climbing from
            its best points.
        cache: A folder; default the user's cache folder.
    """
    if isinstance(problem, TableProblem):
        return Reference(best=float(problem.values.max()), median=float(np.median(problem.values)))
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuneladder" / "replay"
    path = folder / f"{problem.fingerprint[:16]}-{problem.name}-v{_VERSION}.json"
    if path.is_file():
        return Reference(**json.loads(path.read_text(encoding="utf-8")))
    reference = _search(problem)
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")  # two processes may compute the same one
    draft.write_text(json.dumps(asdict(reference)), encoding="utf-8")
    draft.replace(path)
    return reference


def _search(problem: Problem) -> Reference:
    generator = np.random.default_rng(zlib.crc32(problem.name.encode()))
    sample = [draw(problem.space, generator) for _ in range(NUM_RANDOM)]
    values = problem.finals(sample)
    top = np.argsort(-values)[:NUM_STARTS]
    points = [sample[i] for i in top]
    heights = values[top]
    for scale in np.repeat(STEP_SCALES, 3):
        near = [
            draw_near(problem.space, point, float(scale), generator)
            for point in points
            for _ in range(NUM_NEIGHBOURS)
        ]
        found = problem.finals(near).reshape(len(points), NUM_NEIGHBOURS)
        for i, column in enumerate(found.argmax(axis=1)):
            if found[i, column] > heights[i]:
                heights[i] = found[i, column]
                points[i] = near[i * NUM_NEIGHBOURS + int(column)]
    return Reference(best=float(heights.max()), median=float(np.median(values)))
