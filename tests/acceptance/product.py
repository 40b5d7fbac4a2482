"""The installed product from outside: its processes, and its record as another program would read it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

COMMAND = Path(sys.executable).with_name("tuneladder")
PATIENCE_S = 240.0  # after this a condition is taken to be one that never comes true
_MARK = "TUNELADDER_TEST_MARK"


def wait_until(condition: Callable[[], bool], *, what: str, process: Started | None = None) -> None:
    """Poll until something is true; a process that ends before is an error."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process is not None and process.popen.poll() is not None:
            raise AssertionError(f"ended before: {what}\n{process.err}")
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.01)


@dataclass
class Started:
    """A process of the command line with all that it starts, which share a mark in their environment."""

    popen: subprocess.Popen[bytes]
    mark: str
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])

    def wait(self) -> int:
        return self.popen.wait(PATIENCE_S)

    def tree(self) -> list[psutil.Process]:
        """Everything that carries the mark and lives."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self.mark:
                    found.append(process)
        return found

    def kill_tree(self) -> None:
        """End everything at once, with no chance to say good-bye."""
        self.popen.kill()
        while tree := self.tree():
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.popen.wait()

    def assert_nothing_runs(self) -> None:
        """What was started is gone, or goes in a moment."""
        wait_until(lambda: not self.tree(), what=f"all processes have ended: {self.tree()}")


@dataclass
class Product:
    """Starts commands in a folder; ends whatever a test left running."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _started: list[Started] = field(default_factory=list)

    def start(self, *arguments: str | Path, cwd: Path | None = None, **popen: Any) -> Started:
        return self.start_command(COMMAND, *arguments, cwd=cwd, **popen)

    def start_command(self, *command: str | Path, cwd: Path | None = None, **popen: Any) -> Started:
        mark = uuid.uuid4().hex
        output = self.folder / f"output-{len(self._started)}"
        output.mkdir(parents=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1", _MARK: mark} | self.environment
        with (output / "out").open("wb") as out, (output / "err").open("wb") as err:
            process = subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=popen.pop("stdout", out),
                stderr=err,
                start_new_session=True,  # a group of its own, as a shell gives to each command
                **popen,
            )
        self._started.append(Started(process, mark, output))
        return self._started[-1]

    def run(self, *arguments: str | Path, code: int = 0, **more: Any) -> Started:
        """Run a command to its end, which must be this exit code."""
        started = self.start(*arguments, **more)
        found = started.wait()
        assert found == code, f"exit code {found}, expected {code}\n{started.out}\n{started.err}"
        return started

    def write_spec(self, spec: dict[str, Any], name: str = "spec.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    def close(self) -> None:
        for started in self._started:
            started.kill_tree()


@dataclass(frozen=True)
class Record:
    """A home's record, read with SQL alone and never written."""

    home: Path

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        uri = f"file:{self.home.absolute() / 'tuneladder.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            return list(connection.execute(query, parameters))

    def count(self, table: str) -> int:
        """Count rows; 0 before there is such a table."""
        try:
            return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])
        except sqlite3.OperationalError:
            return 0

    def legs(self) -> dict[str, tuple[Any, ...]]:
        """What was trained when and where; a leg that is trained again changes it."""
        rows = self.rows("SELECT key, attempt, slot, wall_s, recorded_at, members FROM legs")
        return {row[0]: row[1:] for row in rows}

    def states(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT state FROM jobs ORDER BY id")]

    def story(self) -> dict[str, Any]:
        """Everything that must be the same in every run of a spec, value for value."""
        return {
            "jobs": self.rows("SELECT state, best_trial, metric, data_fingerprint FROM jobs"),
            "stages": self.rows("SELECT number, name, opens, state, outcome FROM stages ORDER BY number"),
            "rounds": self.rows("SELECT number, stage, rungs FROM rounds ORDER BY number"),
            "trials": self.rows(
                "SELECT number, stage, round, params, seed, state, epochs, best_epoch, best_value, message, "
                "num_legs FROM trials ORDER BY number"
            ),
            "legs": self.rows("SELECT key, start_epoch, end_epoch, fingerprint FROM legs ORDER BY key"),
            "measurements": self.rows("SELECT trial, epoch, metrics FROM measurements ORDER BY trial, epoch"),
            "test": self.rows("SELECT trial, metrics FROM test_reads"),
        }


def interrupt(process: Started, *, group: bool) -> None:
    """Ctrl-C: a terminal sends it to the whole foreground group."""
    if group:
        os.killpg(process.popen.pid, signal.SIGINT)
    else:
        process.popen.send_signal(signal.SIGINT)
