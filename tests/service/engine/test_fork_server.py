"""The process that slots are forked from: what forks share, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ray import cloudpickle

from service.engine.fork_server import Fork, ForkServer

PATIENCE_S = 60


def pid(function: Any, context: Any) -> int:
    return os.getpid()


def parent(function: Any, context: Any) -> int:
    return os.getppid()


def given(function: Any, context: Any, name: str) -> Any:
    return function.__name__, float(context["numbers"].sum()), os.environ.get(name)


def leave(function: Any, context: Any) -> None:
    os._exit(3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    server = ForkServer("service.legs", log=tmp_path / "log")
    context = {"numbers": np.ones(1000)}
    server.brief(cloudpickle.dumps(given), cloudpickle.dumps(context))
    yield server
    server.close()
    assert not (tmp_path / "log").read_text()


def ended(*processes: psutil.Process) -> bool:
    return not psutil.wait_procs(processes, timeout=PATIENCE_S)[1]


def test_a_fork_has_the_function_the_context_and_its_slots_environment(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_HERE", "yes")
    fork = Fork(server.address)
    assert fork(given, "ONLY_HERE") == ("given", 1000.0, "yes")
    assert fork(given, "NOWHERE") == ("given", 1000.0, None)


def test_every_slot_has_a_process_of_its_own_which_ends_with_it(server: ForkServer) -> None:
    forks = [Fork(server.address) for _ in range(2)]
    first, second = (psutil.Process(fork(pid)) for fork in forks)
    assert first.pid != second.pid
    forks[0].close()
    assert ended(first)
    assert second.is_running()


def test_a_fork_that_ends_is_noticed_and_the_next_one_is_new(server: ForkServer) -> None:
    fork = Fork(server.address)
    with pytest.raises((EOFError, ConnectionError)):
        fork(leave)
    assert Fork(server.address)(given, "X")[1] == 1000.0


def test_a_slot_that_ends_while_it_asks_disturbs_nobody(server: ForkServer) -> None:
    Client(server.address, "AF_UNIX").close()
    assert Fork(server.address)(given, "X")[1] == 1000.0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_forks_end_with_the_server(server: ForkServer, by: signal.Signals) -> None:
    fork = Fork(server.address)
    worker, master = psutil.Process(fork(pid)), psutil.Process(fork(parent))
    master.send_signal(by)
    assert ended(worker)


def test_closing_leaves_no_process_and_no_file(server: ForkServer) -> None:
    fork = Fork(server.address)
    worker, master = psutil.Process(fork(pid)), psutil.Process(fork(parent))
    server.close()
    assert ended(worker, master)
    assert not Path(server.address).parent.exists()


def test_a_driver_that_is_killed_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from service.engine.fork_server import Fork, ForkServer;"
        f"server = ForkServer('service.legs', log=Path({str(tmp_path / 'log')!r}));"
        "server.brief('os:getpid', b'N.'); print(server.address, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        folder = Path(driver.stdout.readline().strip()).parent
        (master,) = psutil.Process(driver.pid).children()
        driver.kill()
        assert ended(master)
        assert not folder.exists()


def test_a_server_that_cannot_import_is_an_error(tmp_path: Path) -> None:
    server = ForkServer("no_such_module", log=tmp_path / "log")
    with pytest.raises(EOFError, match=r"it ended with code 1, .*No module named 'no_such_module'"):
        server.brief("os:getpid", b"N.")
    server.close()
