"""The supervisor, with small processes in the place of the service's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import InvalidSettingsError, TuneladderError
from service.settings import load_settings
from service.stack.parts import Part
from service.stack.ports import claim_ports, is_free
from service.stack.processes import ProcessId
from service.stack.record import StackFile, StackRecord
from service.stack.supervisor import MAX_EARLY_DEATHS, Supervisor


def a_part(name: str, code: str, *, marker: Path | None = None, grace_s: float = 30) -> Part:
    return Part(
        name=name,
        command=[sys.executable, "-c", code],
        environment={"MARKER": str(marker)},
        serves=lambda: marker is None or marker.exists(),
        grace_s=grace_s,
    )


SERVE = """
import os, signal, sys, time
from pathlib import Path
Path(os.environ["MARKER"]).write_text(str(os.getpid()))
def end(*_):
    print("asked to end", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(0.05)
"""


class Watching:
    """Looks at a supervisor from another thread, for signals reach the main one, and does what it is told."""

    def __init__(self, *steps: Callable[[], bool]) -> None:
        self._steps = steps
        self.error: str | None = None

    def follow(self) -> None:
        deadline = time.monotonic() + 120
        for number, step in enumerate(self._steps):
            while not step():
                if time.monotonic() > deadline:
                    self.error = f"step {number} never came true"
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)


def supervise(file: StackFile, parts: list[Part], *steps: Callable[[], bool]) -> list[str]:
    """Run until every step has come true in its turn; give what was said."""
    said: list[str] = []
    watching = Watching(*steps)
    ready, over = threading.Event(), threading.Event()
    supervisor = Supervisor(file=file, parts=parts, ports={"api": 1}, say=said.append)
    thread = threading.Thread(target=lambda: ready.wait() and not over.is_set() and watching.follow())
    thread.start()
    try:
        supervisor.run(on_ready=ready.set)
    finally:
        over.set()
        ready.set()
        thread.join()
    assert watching.error is None, watching.error
    return said


def state_of(file: StackFile, name: str) -> tuple[str, int] | None:
    parts = {part.name: part for part in file.read().parts}
    return (parts[name].state, parts[name].num_restarts) if name in parts else None


def test_parts_end_in_the_opposite_order_and_their_ports_are_remembered(file: StackFile, tmp_path: Path) -> None:
    parts = [a_part(name, SERVE, marker=tmp_path / name) for name in ("first", "second")]
    said = supervise(file, parts, lambda: file.read().is_ready)
    assert said == ["first is up", "second is up", "ending second", "ending first"]
    assert file.read() == StackRecord(ports={"api": 1})
    for name in ("first", "second"):
        assert "asked to end" in (file.logs / f"{name}.log").read_text()
        assert ProcessId.of(int((tmp_path / name).read_text())) is None


def test_a_part_that_dies_starts_again_and_the_record_says_so(file: StackFile, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def kill() -> bool:
        os.kill(int(marker.read_text()), signal.SIGKILL)
        return True

    said = supervise(
        file,
        [a_part("worker", SERVE, marker=marker)],
        lambda: state_of(file, "worker") == ("running", 0),
        kill,
        lambda: state_of(file, "worker") == ("running", 1),
        kill,
        lambda: state_of(file, "worker") == ("running", 2),
    )
    pauses = [float(pause) for line in said for pause in re.findall(r"with code -9, .*again in ([\d.]+) s", line)]
    assert pauses == [0.5, 1.0]


def test_a_part_that_cannot_start_ends_the_others_and_says_its_last_words(file: StackFile, tmp_path: Path) -> None:
    parts = [
        a_part("mlflow", SERVE, marker=tmp_path / "marker"),
        a_part("api", "raise SystemExit('no such module')", marker=tmp_path / "never"),
    ]
    with pytest.raises(TuneladderError, match=rf"api must start, it ended {MAX_EARLY_DEATHS} times") as caught:
        supervise(file, parts)
    assert str(caught.value).count("no such module") == MAX_EARLY_DEATHS
    assert ProcessId.of(int((tmp_path / "marker").read_text())) is None
    assert file.read() == StackRecord(ports={"api": 1})


DEAF = SERVE.replace("sys.exit(0)", "pass")


def test_a_part_that_does_not_end_is_ended(file: StackFile, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    supervise(file, [a_part("api", DEAF, marker=marker, grace_s=0.5)], lambda: file.read().is_ready)
    assert "asked to end" in (file.logs / "api.log").read_text()
    assert ProcessId.of(int(marker.read_text())) is None


def chosen_ports(remembered: dict[str, int], *, port: int | None = None) -> dict[str, int]:
    with claim_ports(load_settings(), remembered, port=port) as ports:
        return ports


def test_ports_are_those_of_last_time_then_the_usual_ones_then_any() -> None:
    with socket.socket() as taken, socket.socket() as other:
        for one in (taken, other):
            one.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
        other.close()
        taken.listen()
        busy = taken.getsockname()[1]
        assert not is_free(busy)
        assert chosen_ports({"api": free})["api"] == free
        chosen = chosen_ports({"api": busy, "mlflow": busy})
        assert busy not in chosen.values()
        assert len(set(chosen.values())) == 2
        with pytest.raises(InvalidSettingsError, match=f"the port of the API must be free, got {busy}"):
            chosen_ports({}, port=busy)


@pytest.mark.skipif(sys.platform != "linux", reason="ports are claimed on Linux only")
def test_two_stacks_that_start_at_once_get_ports_of_their_own() -> None:
    with claim_ports(load_settings(), {}, port=None) as first:
        assert all(is_free(port) for port in first.values())  # nobody listens yet
        second = chosen_ports(first)
        assert not set(first.values()) & set(second.values())
        with pytest.raises(InvalidSettingsError, match=f"the port of the API must be free, got {first['api']}"):
            chosen_ports({}, port=first["api"])
    assert chosen_ports(first) == first


def test_a_stack_has_no_mlflow_of_its_own_where_the_settings_name_one() -> None:
    with claim_ports(load_settings(mlflow_uri="http://mlflow:5000"), {}, port=None) as ports:
        assert set(ports) == {"api"}
