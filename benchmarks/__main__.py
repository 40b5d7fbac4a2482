"""Run the benchmarks, each in a process of its own, and write their results.

    python -m benchmarks
    python -m benchmarks --only fused,scaling

Each writes `benchmarks/results/NAME.json`: the command, what it has measured, machine, versions and date.
`python docs/generate.py` puts the figures into docs/performance.md. Nothing else should run on the machine
meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import last_json_line
from benchmarks.results import BENCHMARKS, FOLDER, Benchmark, make_record, write_record


def measure(benchmark: Benchmark, *, folder: Path) -> bool:
    """Run one benchmark and write its result; False where it failed."""
    began = time.perf_counter()
    try:
        result = last_json_line([sys.executable, *benchmark.words])
    except RuntimeError as error:
        print(f"{benchmark.name}: failed: {error}", file=sys.stderr)
        return False
    wall_s = time.perf_counter() - began
    path = write_record(make_record(benchmark, result, wall_s=wall_s), folder=folder)
    print(f"{benchmark.name}: {wall_s:.0f} s, written to {path}", file=sys.stderr)
    return True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(names), help=f"some of {', '.join(names)}, with commas")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for the results")
    chosen = parser.parse_args(arguments)
    chosen.only = chosen.only.split(",")
    unknown = sorted(set(chosen.only) - set(names))
    if unknown:
        parser.error(f"--only names benchmarks out of {', '.join(names)}, got {', '.join(unknown)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code says whether one of them failed."""
    chosen = _parse(arguments)
    failed = []
    for benchmark in (one for one in BENCHMARKS if one.name in chosen.only):
        missing = benchmark.lacks()
        if missing is not None:
            print(f"{benchmark.name}: left out, for it needs {missing}", file=sys.stderr)
        elif not measure(benchmark, folder=chosen.folder):
            failed.append(benchmark.name)
    if failed:
        print(f"failed: {', '.join(failed)}; the others are written", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
