"""Processes are told apart by number and start time, and end with their whole group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.stack.processes import ProcessId, end_group, start_part

GROUP = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""

Start = Callable[[str], tuple[subprocess.Popen[bytes], str]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a part from its code; give the process and the first thing that it says."""
    started: list[subprocess.Popen[bytes]] = []

    def call(code: str) -> tuple[subprocess.Popen[bytes], str]:
        log = tmp_path / "logs" / f"{len(started)}.log"
        started.append(start_part([sys.executable, "-c", code], environment={"PART": "x"}, log=log))
        wait_until(lambda: bool(log.read_text()))
        return started[-1], log.read_text().strip()

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_process_is_itself_and_no_other_one_of_its_number() -> None:
    own = ProcessId.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    assert not replace(own, created=own.created - 60).is_alive()
    assert replace(own, created=own.created - 60).group() == []


def test_a_process_that_has_ended_is_not_there(
    start: Start,
) -> None:
    process, _ = start("print('hello')")
    found = ProcessId.of(process.pid)
    process.wait()
    assert ProcessId.of(process.pid) is None
    assert found is None or not found.is_alive()


def test_a_group_ends_whole_also_when_its_leader_is_gone(
    start: Start,
) -> None:
    process, said = start(GROUP)
    leader, child = ProcessId.of(process.pid), psutil.Process(int(said))
    assert leader is not None
    assert [one.pid for one in leader.group()] == [process.pid, child.pid]
    process.kill()
    process.wait()
    assert [one.pid for one in leader.group()] == [child.pid]
    end_group(leader, grace_s=30)
    assert leader.group() == []


def test_a_group_that_does_not_listen_ends_too(
    start: Start,
) -> None:
    process, _ = start(STUBBORN)
    leader = ProcessId.of(process.pid)
    assert leader is not None
    end_group(leader, grace_s=0.2)
    assert process.wait() == -signal.SIGKILL


def test_another_process_of_a_remembered_number_is_left_alone(
    start: Start,
) -> None:
    process, _ = start(GROUP)
    leader = ProcessId.of(process.pid)
    assert leader is not None
    end_group(replace(leader, created=leader.created - 60), grace_s=0)
    assert process.poll() is None
    end_group(leader, grace_s=30)


def test_a_part_leads_a_group_of_its_own_and_writes_to_its_log(
    start: Start,
) -> None:
    process, said = start("import os; print(os.getpgid(0) == os.getpid(), os.environ['PART'], os.read(0, 1))")
    assert process.wait() == 0
    assert said == "True x b''"
