"""What tracking adds to the wall-clock of a job while the MLflow server is slow.

    python -m benchmarks.tracking --json

Runs the same job (`benchmarks.digits_problem`, 1,000 trials) three ways, each in a process of its own:

without  the follower never starts, so nothing is logged and no thread runs beside the driver
local    MLflow's SQLite database in the home, as `tuneladder run` does
slow     a real `mlflow server` behind a proxy that lets each request wait for a second, artifacts included

The last line of standard output is

    {"overhead_share": ..., "training_overhead_share": ...,
     "wall_s": {"without": ..., "local": ..., "slow": ...}, "winner_s": {...}, "flush_s": {...}, "num_left": {...},
     "local": {"overhead_share": ..., "training_overhead_share": ...}, "requests": ..., "runs": {...}, ...}

`overhead_share` is all that a person waits longer with the slow server until the command ends, over the job's time
without tracking. `training_overhead_share` is the same until the winner's bundle is there: whether tracking
disturbs the training. In between lies `flush_s`, in which the job waits for what is not logged yet. That wait is
bounded, so a long job has a small share of it; `num_left` says of how many trials something is not on record as
logged then, which the next run of the job would log. All three train the same trials, epochs and legs, or it is an
error. Medians of `--repeats`; a difference of a percent or two is what a machine does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benchmarks import digits_problem as problem
from benchmarks.figures import last_json_line
from benchmarks.own_job import make_spec
from benchmarks.slow_server import SlowProxy, mlflow_server
from service.documents import parse_spec
from service.home import Home
from service.seats import RunOptions, Seats
from service.store import JobRecord, Store
from service.tracking import MlflowFollower, TrackingPlace, make_database

WITHOUT, LOCAL, SLOW = VARIANTS = ("without", "local", "slow")
SERVED_ARTIFACTS = "mlflow-artifacts:/"  # through the server, and so through the proxy


class NoFollower(MlflowFollower):
    """Follows nothing."""

    def start(self) -> Self:
        """Start no thread."""
        return self


def run_job(*, trials: int, workers: int, max_epochs: int, variant: str, server: str) -> dict[str, Any]:
    """Run the job in this process, as `tuneladder run` does.

    Args:
        trials: About so many.
        workers: Slots.
        max_epochs: Of a trial.
        variant: One of `VARIANTS`.
        server: URL of the slow server.
    """
    spec = parse_spec(make_spec(trials=trials, max_epochs=max_epochs, strategy="ladder"))
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracking-"))))
        make_database(home.folder / "mlflow.db")
        seats = stack.enter_context(Seats(spec, RunOptions(num_slots=workers), home))
        seats.boot()
        from service.job_run import JobRun  # torch, Lightning, Optuna: seconds, while Ray starts
        from service.preparation import prepare

        class UntrackedRun(JobRun):
            """A run that nobody follows."""

            def _follower(self) -> MlflowFollower:
                return NoFollower(self.store, self.job.id, tracking_uri="", experiment="")

        prepared = prepare(spec, seats, find_starts=lambda resolved: (), say=_say)
        store = stack.enter_context(Store.open(home.store_url()))
        job = store.create_job(
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            spec_fingerprint=spec.fingerprint(),
            base_dir=str(Path.cwd()),
            seed=spec.seed,
        )
        run = (UntrackedRun if variant == WITHOUT else JobRun)(
            store=store,
            home=home,
            job=job,
            prepared=prepared,
            tracking=TrackingPlace(uri=server, artifacts=SERVED_ARTIFACTS)
            if variant == SLOW
            else TrackingPlace.local(home.folder),
            set_aside=lambda error: None,
        )
        ended = run.carry_out(resumed=False, on_start=None, observer=None, say=_say)
        return figures_of(ended, num_left=store.num_untracked(job.id), num_legs=len(store.legs(job.id)))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def figures_of(job: JobRecord, *, num_left: int, num_legs: int) -> dict[str, Any]:
    """Give the figures of one run."""
    result = job.result or {}
    return {
        "wall_s": job.active_s,
        "winner_s": result["winner_s"],
        "flush_s": job.active_s - result["winner_s"],
        "num_left": num_left,
        "trials": result["num_trials"],
        "epochs": result["num_epochs"],
        "legs": num_legs,
    }


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Turn the runs of each way into medians, and these into what tracking adds.

    Raises:
        RuntimeError: They did not run the same job.
    """
    jobs = {(run["trials"], run["epochs"], run["legs"]) for repeated in runs.values() for run in repeated}
    if len(jobs) != 1:
        raise RuntimeError(f"all must have trained the same (trials, epochs, legs), got {sorted(jobs)}")
    medians = {
        name: {way: statistics.median(run[name] for run in repeated) for way, repeated in runs.items()}
        for name in ("wall_s", "winner_s", "flush_s", "num_left")
    }

    def added(way: str) -> dict[str, float]:
        return {
            "overhead_share": medians["wall_s"][way] / medians["wall_s"][WITHOUT] - 1.0,
            "training_overhead_share": medians["winner_s"][way] / medians["winner_s"][WITHOUT] - 1.0,
        }

    return {
        **added(SLOW),
        **medians,
        LOCAL: added(LOCAL),
        "runs": {way: [*repeated] for way, repeated in runs.items()},
    }


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run the job each way, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in VARIANTS}
    requests = 0
    for repeat in range(chosen.repeats):
        for way in VARIANTS:
            with ExitStack() as stack:
                arguments = ["--variant", way]
                if way == SLOW:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlflow-")))
                    port = stack.enter_context(mlflow_server(folder))
                    proxy = stack.enter_context(SlowProxy(port, delay_s=chosen.delay_s))
                    arguments += ["--tracking-uri", proxy.url]
                sizes = {"trials": chosen.trials, "workers": chosen.workers, "max-epochs": chosen.max_epochs}
                arguments += [str(part) for name, size in sizes.items() for part in (f"--{name}", size)]
                run = last_json_line([sys.executable, "-m", "benchmarks.tracking", *arguments, "--json"])
                runs[way].append(run)
                requests = proxy.num_requests if way == SLOW else requests
            print(
                f"[{repeat + 1}/{chosen.repeats}] {way}: {run['trials']} trials, winner after "
                f"{run['winner_s']:.1f} s, then {run['flush_s']:.1f} s for tracking; "
                f"{run['num_left']} trials are not logged in full",
                file=sys.stderr,
            )
    return {**compare(runs), "requests": requests}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=problem.WORKERS)
    parser.add_argument("--max-epochs", type=int, default=problem.MAX_EPOCHS)
    parser.add_argument("--delay-s", type=float, default=1.0, help="that each request to the slow server waits")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each way in turn; medians count")
    parser.add_argument("--variant", choices=VARIANTS, default=None, help="one run of one way, in this process")
    parser.add_argument("--tracking-uri", default="", help="of the server, with --variant slow")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    for name in ("trials", "workers", "max_epochs", "repeats"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is at least 1, got {getattr(chosen, name)}")
    if chosen.delay_s < 0:
        parser.error(f"--delay-s is at least 0, got {chosen.delay_s}")
    if (chosen.variant == SLOW) != bool(chosen.tracking_uri):
        parser.error("--variant slow and --tracking-uri belong together")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    chosen = _parse(arguments)
    if chosen.variant is None:
        found = measure(chosen)
        names = ("trials", "workers", "max_epochs", "delay_s", "repeats")
        found["settings"] = {name: getattr(chosen, name) for name in names} | {"cores": os.cpu_count()}
        print(
            f"with the slow server the job takes {found['overhead_share']:+.1%} longer, "
            f"{found['training_overhead_share']:+.1%} until its winner is there",
            file=sys.stderr,
        )
    else:
        found = run_job(
            trials=chosen.trials,
            workers=chosen.workers,
            max_epochs=chosen.max_epochs,
            variant=chosen.variant,
            server=chosen.tracking_uri,
        )
    print(json.dumps(found, indent=None if chosen.json else 2))


if __name__ == "__main__":
    main()
