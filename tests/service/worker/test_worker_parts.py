"""Small things that a worker is made of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from service.engine.cluster import local_cpus
from service.settings import load_settings
from service.worker import WorkerOptions
from service.worker.attempt import last_line
from service.worker.children import how_it_ended
from service.worker.options import Errand


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "with exit code 1"),
        (-9, "by SIGKILL, as where memory is short"),
        (-11, "by SIGSEGV"),
        (-200, "by signal 200"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int, said: str) -> None:
    assert how_it_ended(code) == said


def test_the_message_of_an_unforeseen_error_is_its_last_line() -> None:
    assert last_line(ValueError("too wide")) == "ValueError: too wide"
    assert last_line(RuntimeError("the leg raised:\nTraceback\n  ZeroDivisionError: by zero\n")) == (
        "ZeroDivisionError: by zero"
    )
    assert last_line(KeyError()) == "KeyError"


def test_a_worker_is_told_by_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_HOME", str(tmp_path))
    options = WorkerOptions.of(load_settings())
    assert options.store_url == f"sqlite:///{tmp_path / 'tuneladder.db'}"
    assert (options.tracking.uri, options.tracking.artifacts) == (
        f"sqlite:///{tmp_path / 'mlflow.db'}",
        (tmp_path / "artifacts").as_uri(),
    )
    assert options.name.endswith(f"-{os.getpid()}")
    for name, value in {
        "MLFLOW_URI": "http://mlflow:5000",
        "DATABASE_URL": "postgresql://user:secret@host/db",
        "RAY_ADDRESS": "ray:6379",
        "MAX_RUNNING_JOBS": "3",
        "SLOTS": "2",
    }.items():
        monkeypatch.setenv(f"TUNELADDER_{name}", value)
    options = WorkerOptions.of(load_settings())
    assert (options.tracking.uri, options.tracking.artifacts) == ("http://mlflow:5000", None)
    run = options.run_options()
    assert (run.engine, run.address, run.num_slots, run.share) == ("ray", "ray:6379", 2, 3)
    assert "secret" not in repr(options)
    monkeypatch.setenv("TUNELADDER_ENGINE", "local")
    assert WorkerOptions.of(load_settings()).run_options().engine == "local"


def test_jobs_that_share_a_machine_share_its_cores_and_each_holds_its_slots() -> None:
    cores = os.cpu_count() or 1
    assert local_cpus(1, 1) == cores
    assert local_cpus(1, 1, share=2) == max(1, cores // 2)
    assert local_cpus(3, cores, share=2) == 3 * cores


def test_errands_are_told_apart() -> None:
    job = Errand(kind="job", job_id="a", attempt=1)
    export = Errand(kind="export", job_id="a", attempt=1, export_id=7)
    others = [Errand(kind="job", job_id="b", attempt=1), Errand(kind="job", job_id="a", attempt=2)]
    assert len({job.key, export.key, *(one.key for one in others)}) == 4


FAMILY = """
import os, subprocess, sys, time
child = os.fork()
if child == 0:
    from service.processes import die_with_parent
    die_with_parent()
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a process with its parent, others do not")
def test_a_process_dies_with_the_one_that_made_it() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 60
    with suppress(psutil.NoSuchProcess):
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it outlives its parent"
            time.sleep(0.01)
