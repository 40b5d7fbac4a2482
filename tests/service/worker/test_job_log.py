"""A job's log: bounded, and its last words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.worker.log import MAX_BYTES, MAX_LINE, JobLog, bound_file


def log_of(tmp_path: Path, text: str | bytes) -> JobLog:
    log = JobLog.of(tmp_path, "job")
    log.path.parent.mkdir(parents=True)
    log.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return log


def test_a_log_lies_beside_the_checkpoints_of_its_job(tmp_path: Path) -> None:
    assert JobLog.of(tmp_path, "job").path == tmp_path / "jobs" / "job" / "log"


def test_the_last_words_are_the_last_line_that_says_something(tmp_path: Path) -> None:
    assert log_of(tmp_path, "Traceback\n  ValueError: too wide  \n\n  \n").last_line() == "ValueError: too wide"


def test_a_job_without_a_log_has_no_last_words(tmp_path: Path) -> None:
    assert JobLog.of(tmp_path, "job").last_line() == ""
    assert log_of(tmp_path, "\n\n").last_line() == ""


def test_last_words_are_short_and_text_whatever_was_written(tmp_path: Path) -> None:
    assert len(log_of(tmp_path, b"x" * MAX_BYTES + b"\xff\xfe").last_line()) == MAX_LINE


WRITE = """
import os, sys
from pathlib import Path
from service.worker.log import JobLog
log = JobLog.of(Path(sys.argv[1]), "job")
log.take_output()
for _ in range(200):
    print("x" * 10_000)
    sys.stdout.flush()
    log.bound()
os.system("echo from a process of its own >&2")
raise RuntimeError("the last word")
"""


def test_a_process_writes_without_end_and_its_log_stays_bounded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    log = JobLog.of(tmp_path, "job")
    text = log.path.read_text()
    assert "from a process of its own" in text
    assert log.last_line() == "RuntimeError: the last word"
    assert len(text) <= MAX_BYTES + 20_000
    assert MAX_BYTES < log.path.with_name("log.1").stat().st_size <= MAX_BYTES + 20_000


def test_a_short_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "api.log"
    bound_file(file, 3)
    file.write_text("abc")
    bound_file(file, 3)
    assert file.read_text() == "abc"
    file.write_text("abcd")
    bound_file(file, 3)
    assert (file.read_text(), (tmp_path / "api.log.1").read_text()) == ("", "abcd")
