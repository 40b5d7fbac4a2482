"""What is known of a stack, and who may supervise it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ConflictError
from service.stack.processes import ProcessId
from service.stack.record import PartRecord, StackFile, StackRecord


def a_record() -> StackRecord:
    own = ProcessId.of(os.getpid())
    part = PartRecord(name="api", state="running", process=own, url="http://127.0.0.1:8400", log="api.log")
    return StackRecord(supervisor=own, is_ready=True, ports={"api": 8400}, parts=(part,))


def test_a_record_comes_back_as_it_was_written(file: StackFile) -> None:
    file.write(a_record())
    assert file.read() == a_record()
    assert file.read().is_up()
    assert [path.name for path in file.home.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": null}', '{"supervisor": 3, "parts": []}'])
def test_nothing_is_known_of_a_file_that_cannot_be_read(text: str, file: StackFile) -> None:
    file.path.write_text(text)
    assert file.read() == StackRecord()
    assert not file.read().is_up()


def test_nothing_is_known_where_there_is_no_file(tmp_path: Path) -> None:
    assert StackFile(tmp_path / "nowhere").read() == StackRecord()


HOLD = """
import sys
from pathlib import Path
from service.stack.record import StackFile
with StackFile(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_one_process_supervises_a_home_and_its_death_frees_it(file: StackFile) -> None:
    command = [sys.executable, "-c", HOLD, str(file.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match=r"one stack serves a home, got .*tuneladder down"), file.locked():
            pass
        holder.kill()
    with file.locked():
        pass
