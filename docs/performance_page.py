"""What stands in docs/performance.md: tables of the results that lie in benchmarks/results, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
Record = Mapping[str, Any]
Rows = list[list[str]]

HEAD = """\
# Performance

Figures that were measured, with what to type to measure them again. `make bench` runs everything, writes
`benchmarks/results/NAME.json` and puts the figures here; `.venv/bin/python -m benchmarks --only NAME` runs one,
and `.venv/bin/python docs/generate.py` writes this page. What each of them counts, and what it leaves out, stands
at the top of its file in `benchmarks`. Nothing else should run on the machine meanwhile. Every process computes on
one thread.
"""
MISSING = "Not measured yet: `.venv/bin/python -m benchmarks --only {name}` does it."
STACKS = {
    "plain": "Ray Tune, Optuna, Lightning, MLflow as their pages show it",
    "reuse": "the same with `reuse_actors`",
    "optuna_processes": "two processes, a shared Optuna study, no Ray",
    "tuneladder": "tuneladder",
}
PARTS = {
    "training": "epochs, with their validation",
    "in_slots": "the rest of a leg: networks are made, checkpoints packed",
    "waiting": "a slot has no leg while another one has",
    "handing_over": "no slot has a leg: results are recorded, a rung is decided, legs are sent",
    "asking": "the search is told of a round and asks for the next one",
    "start": "until the first leg began",
    "checks": "the overfit check",
    "test_and_bundle": "from the last leg until the winner's bundle is there",
    "tracking": "what was left for MLflow then",
}
REQUESTS = {
    "submit": "submit a job",
    "show": "show one",
    "list": "a page of the list",
    "trials": "a page of trials",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table.

    Args:
        title: Its heading.
        names: The results that it shows; a row or a column each where there are more than one.
        about: What it says.
        make: Makes head and rows of the results that are there, at least one.
    """

    title: str
    names: tuple[str, ...]
    about: str
    make: Callable[[Mapping[str, Any]], tuple[list[str], Rows]]


def _stacks(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    rows = []
    for name, rate in result["seconds_per_trial_epoch"].items():
        ratio = result["ratio"].get(name)
        run = result["figures"][name][0]
        rows.append(
            [
                STACKS.get(name, name),
                f"{rate:.4f}",
                f"{ratio:.1f}" if ratio else "",
                str(run["trials"]),
                str(run["epochs"]),
                f"{run['wall_s']:.1f}",
                f"{run['best']:.4f}",
            ]
        )
    return [
        "stack",
        "seconds a trial-epoch",
        "times tuneladder's",
        "trials",
        "epochs",
        "seconds",
        "accuracy",
    ], rows


def _where(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    shares = {}
    for result in results.values():
        job = result.get("job", result)
        trials = job["trials"] if "trials" in job else job["figures"]["tuneladder"][0]["trials"]
        shares[f"{trials} trials"] = job["wall_clock"]
    rows = [
        [name.replace("_", " "), *(f"{share[name]:.1%}" for share in shares.values()), what]
        for name, what in PARTS.items()
    ]
    total = [f"{1 - share['training']:.1%}" for share in shares.values()]
    return ["part", *shares, "what"], [*rows, ["not training", *total, "all but the first line"]]


def _job(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    job, grown = result["job"], result["job"]["growth"]
    return ["figure", ""], [
        ["trials, epochs", f"{job['trials']}, {job['epochs']}"],
        ["seconds", f"{job['wall_s']:.0f}"],
        ["peak memory of the driver, GiB", f"{job['driver_peak_gib']:.2f}"],
        [f"seconds a trial, the first {grown['first_trials']}", f"{grown['first_trial_s']:.3f}"],
        [f"seconds a trial, the last {grown['last_trials']}", f"{grown['last_trial_s']:.3f}"],
        ["last over first", f"{grown['ratio']:.2f}"],
        ["last over first, of seconds a trial-epoch", f"{grown['ratio_by_epoch']:.2f}"],
    ]


def _scaling(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    rows = [
        [
            slots,
            f"{share:.1%}",
            f"{result['figures'][slots]['ideal_s']:.1f}",
            f"{result['figures'][slots]['wall_s']:.1f}",
        ]
        for slots, share in result["scaling"].items()
    ]
    return ["slots", "efficiency", "ideal seconds", "seconds"], rows


def _tracking(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    delay = result["settings"]["delay_s"]
    ways = {
        "without": ("no tracking", None),
        "local": ("SQLite in the home", result["local"]),
        "slow": (f"server, {delay:g} s a request", result),
    }
    rows = [
        [
            title,
            f"{result['winner_s'][way]:.1f}",
            f"{added['training_overhead_share']:+.1%}" if added else "",
            f"{result['flush_s'][way]:.1f}",
            f"{result['wall_s'][way]:.1f}",
            f"{added['overhead_share']:+.1%}" if added else "",
            f"{result['num_left'][way]:g}" if added else "all",
        ]
        for way, (title, added) in ways.items()
    ]
    head = [
        "tracking",
        "seconds to the winner",
        "added",
        "seconds of waiting then",
        "seconds in all",
        "added in all",
    ]
    return [*head, "trials not logged in full"], rows


def _fused(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    rows = [
        [
            name,
            f"{result['alone_s'][name]:.3f}",
            f"{result['fused_s'][name]:.3f}",
            f"{speedup:.1f}",
            f"{'as one' if result['chosen'][name]['fused'] else 'one by one'}: {result['chosen'][name]['reason']}",
        ]
        for name, speedup in result["speedup"].items()
    ]
    return ["network", "seconds alone", "seconds a member as one", "times faster", "chosen"], rows


def _fused_cuda(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    sizes = list(next(iter(result["speedup"].values())))
    rows = [
        [
            name,
            f"{result['alone_s'][name]:.3f}",
            *(f"{speedups[size]:.1f} ({result['memory_mib'][name][size]:.1f} MiB)" for size in sizes),
        ]
        for name, speedups in result["speedup"].items()
    ]
    return ["network", "seconds alone", *(f"cohort of {size}" for size in sizes)], rows


def _health(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    rows = [
        [family, f"{1000 * result['epoch_s'][family]:.1f}", f"{ratio - 1:+.1%}"]
        for family, ratio in result["ratio"].items()
    ]
    return ["family", "ms an epoch without", "added"], rows


def _inputs(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    rows = []
    for size, body in result["by_batch_size"].items():
        rates, alone = body["samples_per_second"], body["loading_alone"]
        rows.append(
            [
                size,
                f"{rates['batch_loader']:,.0f}",
                f"{rates['data_loader']:,.0f}",
                f"{body['ratio']:.2f}",
                f"{alone['ratio']:.1f}",
            ]
        )
    head = ["batch size", "rows a second with `BatchLoader`", "with torch's `DataLoader`", "ratio"]
    return [*head, "ratio of loading alone"], rows


def _replay(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    strategies = result["strategies"]
    points = list(next(iter(strategies.values()))["mean"])
    order = sorted(strategies, key=lambda name: float(strategies[name]["mean"][points[-1]]))
    rows = [
        [
            f"`{name}`",
            *(f"{strategies[name]['mean'][point]:.3f}" for point in points),
            f"{strategies[name]['ask_ms']:.1f}",
        ]
        for name in order
    ]
    return ["strategy", *(f"after {point} trainings" for point in points), "ms a trial"], rows


def _service(results: Mapping[str, Any]) -> tuple[list[str], Rows]:
    (result,) = results.values()
    backends = [name for name in ("postgres", "sqlite") if name in result]
    rows = [
        [
            title,
            *(f"{result[name][f'{kind}_p50_ms']:.1f}, {result[name][f'{kind}_p99_ms']:.1f}" for name in backends),
        ]
        for kind, title in REQUESTS.items()
    ]
    events = ["events a second, over all watchers", *(f"{result[name]['events_per_s']:,.0f}" for name in backends)]
    return ["", *backends], [*rows, events]


SECTIONS = (
    Section(
        title="Beside other stacks, 20 trials",
        names=("orchestration_20",),
        about="The same problem for all: an MLP on scikit-learn's digits, two workers, ten epochs at most, "
        "rungs and early stopping. Starts of workers count, `ray.init` does not.",
        make=_stacks,
    ),
    Section(
        title="Beside other stacks, 200 trials",
        names=("orchestration_200",),
        about="The first stack's figure is that of fewer trials: each costs it the same. tuneladder's "
        "rounds are larger than with 20 trials, and what shares a shape in a round trains as one "
        "network.",
        make=_stacks,
    ),
    Section(
        title="Where the time goes",
        names=("orchestration_20", "orchestration_200", "job_1000"),
        about="Shares of wall-clock times slots, read from the job's record (`benchmarks/wall_clock.py`).",
        make=_where,
    ),
    Section(
        title="A job of 1,000 trials",
        names=("job_1000",),
        about="Width and batch size are fixed, so that trials cost the same from first to last. The driver "
        "is the process of the job: search, store and tracking; slots are not counted with it.",
        make=_job,
    ),
    Section(
        title="More slots",
        names=("scaling",),
        about="Legs that sleep instead of training, so that a machine with few cores can show what the "
        "engine costs. Starts are left out.",
        make=_scaling,
    ),
    Section(
        title="Tracking",
        names=("tracking",),
        about="The same job without tracking, and with an MLflow server that is slow to answer. Training "
        "does not wait for tracking; at its end the job does, for what is not logged yet, within a "
        "bound.",
        make=_tracking,
    ),
    Section(
        title="Cohorts as one network",
        names=("fused",),
        about="A cohort of 16 on one thread against Lightning, one member after another: processor time. "
        "Where one by one is faster that is what is chosen, and the factor is 1.",
        make=_fused,
    ),
    Section(
        title="Cohorts as one network on a GPU",
        names=("fused_cuda",),
        about="Times faster than Lightning, one member after another on the same GPU, and GPU memory a member.",
        make=_fused_cuda,
    ),
    Section(
        title="Watching health",
        names=("health",),
        about="What the watch on [health](search.md#before-the-search) adds to training. Below zero is noise.",
        make=_health,
    ),
    Section(
        title="Rows to the network",
        names=("inputs",),
        about="The same training from the same weights in the same order of rows, with two loaders.",
        make=_inputs,
    ),
    Section(
        title="Search",
        names=("replay",),
        about="Mean normalized regret on replayed learning curves, lower is better; few seeds. What is measured "
        "with more of them stands in [search.md](search.md).",
        make=_replay,
    ),
    Section(
        title="The service",
        names=("service",),
        about="Milliseconds until half and 99 % of the answers were there, at 50 requests a second on a "
        "store of 10,000 jobs and 1,000,000 measurements.",
        make=_service,
    ),
)


def read_records(folder: Path = RESULTS) -> dict[str, Record]:
    """Read the results that are there, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def tables(records: Mapping[str, Record]) -> Iterator[tuple[Section, str, tuple[list[str], Rows] | None]]:
    """Give each section with a word on its results, and its table where there is one."""
    for section in SECTIONS:
        found = {name: records[name] for name in section.names if name in records}
        missing = [MISSING.format(name=name) for name in section.names if name not in records]
        dates = ", ".join(f"`{name}` of {record['date']}" for name, record in found.items())
        note = "\n".join([*([f"From {dates}."] if found else []), *missing])
        made = section.make({name: record["result"] for name, record in found.items()}) if found else None
        yield section, note, made


def machine_rows(records: Mapping[str, Record]) -> Rows:
    """List on what and with what each result was measured."""
    return [
        [
            f"`{name}`",
            f"`{record['command']}`",
            record["date"],
            f"{record['wall_s'] / 60:.1f}",
            _machine_text(record["machine"]),
            ", ".join(f"{package} {number}" for package, number in record["versions"].items()),
        ]
        for name, record in records.items()
    ]


def _machine_text(machine: Mapping[str, Any]) -> str:
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB{gpu}"


MACHINE_COLUMNS = ("result", "command", "date", "minutes", "machine", "versions")
