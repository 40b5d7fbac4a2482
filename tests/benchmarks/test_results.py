"""Results of benchmarks are kept with what they were measured on, and the page shows what is in them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as driver
from benchmarks import orchestration, results, tracking
from benchmarks.figures import Figures
from benchmarks.own_job import OwnFigures
from benchmarks.results import BENCHMARKS, Benchmark, cpu_name, make_record, write_record

WALL_CLOCK = {
    "training": 0.625,
    "in_slots": 0.01,
    "waiting": 0.1,
    "handing_over": 0.05,
    "asking": 0.03,
    "start": 0.115,
    "checks": 0.02,
    "test_and_bundle": 0.03,
    "tracking": 0.02,
}


def _ours(trials: int) -> OwnFigures:
    return OwnFigures(
        wall_s=10.0,
        trials=trials,
        epochs=100,
        best=0.98,
        not_training_share=0.375,
        wall_clock=WALL_CLOCK,
        driver_peak_gib=0.75,
    )


def _run(wall_s: float, num_left: int) -> dict[str, Any]:
    sizes = {"trials": 10, "epochs": 50, "legs": 4}
    return {"wall_s": wall_s, "winner_s": 100.0, "flush_s": wall_s - 100.0, "num_left": num_left, **sizes}


def _made() -> dict[str, dict[str, Any]]:
    """Make results as the benchmarks do."""
    stacks = {
        "plain": [Figures(wall_s=123.4, trials=20, epochs=100, best=0.97)],
        "tuneladder": [_ours(19)],
    }
    ways = {"without": [_run(100, 10)], "local": [_run(101, 0)], "slow": [_run(160, 7)]}
    grown = {
        "first_trials": 112,
        "last_trials": 128,
        "first_trial_s": 0.25,
        "last_trial_s": 0.275,
        "ratio": 1.1,
        "ratio_by_epoch": 1.05,
    }
    kinds = [
        f"{kind}_{percentile}_ms" for kind in ("submit", "show", "list", "trials") for percentile in ("p50", "p99")
    ]
    return {
        "orchestration_20": orchestration.compare(stacks),
        "orchestration_200": orchestration.compare(stacks | {"tuneladder": [_ours(198)]}),
        "job_1000": {"job": {**_ours(1003).to_dict(), "growth": grown}},
        "scaling": {"scaling": {"8": 0.912}, "figures": {"8": {"wall_s": 11.0, "ideal_s": 10.0}}},
        "tracking": {**tracking.compare(ways), "settings": {"delay_s": 1.0}},
        "fused": {
            "speedup": {"mlp": 5.25},
            "alone_s": {"mlp": 0.5},
            "fused_s": {"mlp": 0.1},
            "chosen": {"mlp": {"fused": True, "reason": "measured"}},
        },
        "fused_cuda": {
            "speedup": {"mlp": {"1": 1.0, "128": 44.5}},
            "alone_s": {"mlp": 0.5},
            "memory_mib": {"mlp": {"1": 2.0, "128": 1.5}},
        },
        "health": {"ratio": {"mlp": 1.013}, "epoch_s": {"mlp": 0.02}},
        "inputs": {
            "by_batch_size": {
                "32": {
                    "ratio": 1.75,
                    "samples_per_second": {"batch_loader": 70000.0, "data_loader": 40000.0},
                    "loading_alone": {"ratio": 9.5},
                }
            }
        },
        "replay": {
            "strategies": {
                "joint": {"mean": {"5": 0.3, "20": 0.2}, "ask_ms": 4.0},
                "ladder": {"mean": {"5": 0.4, "20": 0.1}, "ask_ms": 5.0},
            }
        },
        "service": {"sqlite": {**dict.fromkeys(kinds, 3.5), "events_per_s": 12345.0}},
    }


def _kept(folder: Path, *names: str) -> dict[str, dict[str, Any]]:
    """Write results into files as `python -m benchmarks` does, and read them."""
    made = _made()
    for benchmark in BENCHMARKS:
        if benchmark.name in (names or made):
            write_record(make_record(benchmark, made[benchmark.name], wall_s=90.0), folder=folder)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def _table(text: str, title: str) -> list[str]:
    section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_benchmark_is_a_module_with_a_place_on_the_page(benchmark: Benchmark, generate: ModuleType) -> None:
    assert importlib.util.find_spec(f"benchmarks.{benchmark.module}")
    assert benchmark.name in {name for section in generate.performance_page.SECTIONS for name in section.names}


def test_the_page_shows_nothing_that_is_not_measured(generate: ModuleType) -> None:
    shown = {name for section in generate.performance_page.SECTIONS for name in section.names}
    assert shown == {benchmark.name for benchmark in BENCHMARKS}


def test_arguments_of_every_benchmark_parse() -> None:
    from benchmarks.replay import __main__ as replay

    parsers = {"orchestration": orchestration._parse, "tracking": tracking._parse, "replay": replay._parse}
    for benchmark in BENCHMARKS:
        if benchmark.module in parsers:
            parsers[benchmark.module]([*benchmark.arguments, "--json"])


def test_a_result_is_kept_with_machine_versions_and_date(tmp_path: Path) -> None:
    kept = _kept(tmp_path, "scaling")["scaling"]
    assert kept["result"] == _made()["scaling"]
    assert kept["command"] == "python -m benchmarks.orchestration --scaling --json"
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", kept["date"])
    assert kept["wall_s"] == 90.0
    assert kept["machine"].keys() == {"cpu", "cores", "memory_gib", "gpu"}
    assert kept["machine"]["cores"] >= 1
    assert kept["machine"]["memory_gib"] > 0.5
    assert kept["versions"].keys() == {
        *("python", "tuneladder", "torch", "pytorch-lightning", "ray", "optuna", "mlflow")
    }


def test_no_path_of_this_machine_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "DATA_FOLDER", Path("/some/where/data"))
    benchmark = Benchmark(name="x", module="x", arguments=("--surrogate", "/some/where/data/lcbench"))
    record = make_record(benchmark, {"tasks": [{"at": "/some/where/data/t"}], "seeds": 1}, wall_s=1.0)
    assert record["command"] == "python -m benchmarks.x --surrogate $TUNELADDER_DATA/lcbench --json"
    assert record["result"] == {"tasks": [{"at": "$TUNELADDER_DATA/t"}], "seeds": 1}


def test_a_processor_is_named_as_linux_names_it() -> None:
    assert cpu_name("processor\t: 0\nmodel name\t: Some CPU 3000\nflags\t\t: a b\n") == "Some CPU 3000"
    assert cpu_name("") != ""


def test_the_page_has_each_figure_of_each_result(generate: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    _kept(tmp_path)
    records = generate.performance_page.read_records(tmp_path)
    monkeypatch.setattr(generate.performance_page, "read_records", lambda: records)
    text = generate.performance_text()
    assert "Not measured yet" not in text
    stacks = _table(text, "Beside other stacks, 20 trials")
    assert stacks[2].endswith("| 1.2340 | 12.3 | 20 | 100 | 123.4 | 0.9700 |")
    assert stacks[3].startswith("| tuneladder | 0.1000 |  | 19 |")
    where = _table(text, "Where the time goes")
    assert where[0] == "| part | 19 trials | 198 trials | 1003 trials | what |"
    assert where[2].startswith("| training | 62.5% | 62.5% | 62.5% |")
    assert where[-1].startswith("| not training | 37.5% |")
    assert len(where) == 2 + len(WALL_CLOCK) + 1
    assert "| last over first | 1.10 |" in _table(text, "A job of 1,000 trials")
    assert _table(text, "More slots")[2] == "| 8 | 91.2% | 10.0 | 11.0 |"
    assert _table(text, "Tracking")[4] == "| server, 1 s a request | 100.0 | +0.0% | 60.0 | 160.0 | +60.0% | 7 |"
    assert _table(text, "Cohorts as one network")[2] == "| mlp | 0.500 | 0.100 | 5.2 | as one: measured |"
    assert _table(text, "Cohorts as one network on a GPU")[2] == "| mlp | 0.500 | 1.0 (2.0 MiB) | 44.5 (1.5 MiB) |"
    assert _table(text, "Watching health")[2] == "| mlp | 20.0 | +1.3% |"
    assert _table(text, "Rows to the network")[2] == "| 32 | 70,000 | 40,000 | 1.75 | 9.5 |"
    assert [row.split(" | ")[0] for row in _table(text, "Search")[2:]] == ["| `ladder`", "| `joint`"]
    assert _table(text, "The service")[3] == "| show one | 3.5, 3.5 |"
    assert _table(text, "The service")[-1].endswith("| 12,345 |")
    assert len(_table(text, "Measured on")) == 2 + len(BENCHMARKS)


def test_the_page_says_what_is_not_measured(generate: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    _kept(tmp_path, "job_1000")
    records = generate.performance_page.read_records(tmp_path)
    monkeypatch.setattr(generate.performance_page, "read_records", lambda: records)
    text = generate.performance_text()
    assert _table(text, "Where the time goes")[0] == "| part | 1003 trials | what |"
    assert "From `job_1000` of" in text
    assert "Not measured yet: `.venv/bin/python -m benchmarks --only scaling` does it." in text
    assert not _table(text, "More slots")
    monkeypatch.setattr(generate.performance_page, "read_records", dict)
    assert "|" not in generate.performance_text()


def test_the_driver_writes_what_it_measures_and_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real processes: a benchmark that works, one that ends with an error and one that cannot run here."""
    chosen = (
        Benchmark(name="good", module="inputs", arguments=("--epochs", "1", "--batch-sizes", "600")),
        Benchmark(name="bad", module="inputs", arguments=("--epochs", "0")),
        Benchmark(name="away", module="inputs", lacks=lambda: "a moon"),
    )
    monkeypatch.setattr(driver, "BENCHMARKS", chosen)
    assert driver.main(["--folder", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["good.json"]
    assert json.loads((tmp_path / "good.json").read_text())["result"]["batch_size"] == 600
    said = capsys.readouterr().err
    assert "away: left out, for it needs a moon" in said
    assert "failed: bad; the others are written" in said
    assert driver.main(["--folder", str(tmp_path), "--only", "away"]) == 0


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        driver.main(["--only", "speed"])
    assert "got speed" in capsys.readouterr().err
