"""What is measured by `make bench`, and the file in which each result lies: with machine, versions and date."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

FOLDER = Path(__file__).parent / "results"
DATA_FOLDER = Path(os.environ.get("TUNELADDER_DATA", "../shared/data"))
PACKAGES = ("tuneladder", "torch", "pytorch-lightning", "ray", "optuna", "mlflow")


def nothing_lacks() -> str | None:
    """Say that a benchmark runs anywhere."""
    return None


def gpu_lacks() -> str | None:
    """Say what a benchmark on a GPU lacks here."""
    return None if gpu_name() else "a CUDA device, which nvidia-smi does not find"


def replay_lacks() -> str | None:
    """Say what the replay of learning curves lacks here."""
    if not (DATA_FOLDER / "lcbench" / "model.onnx").exists():
        return "lcbench/model.onnx in the folder that TUNELADDER_DATA names"
    return None if find_spec("onnxruntime") else "onnxruntime: install the extra `bench`"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One command and the name of its result.

    Args:
        name: Of the file.
        module: Below `benchmarks`.
        arguments: `--json` aside.
        lacks: Says what it would need and does not find; None where it can run.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    lacks: Callable[[], str | None] = nothing_lacks

    @property
    def words(self) -> tuple[str, ...]:
        """The command behind `python`."""
        return ("-m", f"benchmarks.{self.module}", *self.arguments, "--json")


# Short ones first: who breaks it off has something.
BENCHMARKS = (
    Benchmark(name="inputs", module="inputs"),
    Benchmark(name="health", module="health"),
    Benchmark(name="fused", module="fused"),
    Benchmark(name="fused_cuda", module="fused", arguments=("--device", "cuda"), lacks=gpu_lacks),
    Benchmark(name="scaling", module="orchestration", arguments=("--scaling",)),
    Benchmark(
        name="orchestration_20",
        module="orchestration",
        arguments=("--trials", "20", "--with-optuna-processes"),
    ),
    Benchmark(
        name="orchestration_200",
        module="orchestration",
        arguments=("--trials", "200", "--plain-trials", "20"),
    ),
    Benchmark(name="job_1000", module="orchestration", arguments=("--job", "1000")),
    Benchmark(name="tracking", module="tracking"),
    Benchmark(
        name="replay",
        module="replay",
        arguments=(
            *(
                "--surrogate",
                str(DATA_FOLDER / "lcbench"),
                "--strategies",
                "ladder,joint,random_halving,optuna_tpe",
            ),
            *("--seeds", "3"),
        ),
        lacks=replay_lacks,
    ),
    Benchmark(name="service", module="service"),
)


def gpu_name() -> str | None:
    """Name the first GPU; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout.strip() else None


def cpu_name(cpuinfo: str) -> str:
    """Read a processor's name as Linux writes it."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def describe_machine() -> dict[str, Any]:
    """Say on what was measured."""
    return {
        "cpu": cpu_name(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": gpu_name(),
    }


def describe_versions() -> dict[str, str]:
    """Say with what was measured."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def make_record(benchmark: Benchmark, result: Mapping[str, Any], *, wall_s: float) -> dict[str, Any]:
    """Put a result beside what it was measured on."""
    return {
        "name": benchmark.name,
        "command": f"python {' '.join(_portable(word) for word in benchmark.words)}",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "wall_s": round(wall_s, 1),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "result": without_paths(result),
    }


def without_paths(result: Any) -> Any:
    """Write the data folder of this machine as the variable that names it."""
    if isinstance(result, Mapping):
        return {name: without_paths(part) for name, part in result.items()}
    if isinstance(result, list):
        return [without_paths(part) for part in result]
    return _portable(result) if isinstance(result, str) else result


def _portable(word: str) -> str:
    return word.replace(str(DATA_FOLDER), "$TUNELADDER_DATA")


def write_record(record: Mapping[str, Any], *, folder: Path = FOLDER) -> Path:
    """Write a result's file and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['name']}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path
