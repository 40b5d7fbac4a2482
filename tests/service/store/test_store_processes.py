"""What happens when processes die, or come together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from story import a_leg, a_result, new_trials, running_job

from service.errors import ConflictError, NotFoundError
from service.store import CheckpointFiles, JobLock, Store

HERE = Path(__file__).parent


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


RECORD = """
import sys
from service.store import Store
from story import a_leg, a_result, new_trials
store, job_id = Store.open(sys.argv[1]), sys.argv[2]
for number in range(1, 1000):
    trials = range(8 * number, 8 * number + 8)
    store.record_round(job_id, stage=0, round_number=number, trials=new_trials(trials), rungs=[10])
    leg = a_leg(trials, end=10, key=f"r{number:04d}")
    store.record_leg(job_id, leg, a_result(leg), "f")
    print(leg.key, flush=True)
"""


@pytest.mark.parametrize("num_legs", [1, 7, 20])
def test_a_kill_loses_no_leg_that_was_recorded_and_leaves_none_in_halves(store: Store, num_legs: int) -> None:
    job = running_job(store)
    process = start(RECORD, store.url, job.id)
    recorded = read_lines(process, num_legs)
    kill(process)
    legs = store.legs(job.id)
    assert [leg.key for leg in legs][:num_legs] == recorded
    in_legs = {number for leg in legs for number in leg.trials}
    for trial in store.trials(job.id):
        expected = 10 if trial.number in in_legs else 0
        assert (trial.epochs, len(store.measurements(job.id, trial.number))) == (expected, expected)


def test_threads_share_a_store(store: Store) -> None:
    """One thread records while others ask and write elsewhere; nothing is locked out."""
    job = running_job(store)
    errors: list[BaseException] = []

    def record(first_round: int) -> None:
        try:
            for number in range(first_round, first_round + 10):
                trials = range(8 * number, 8 * number + 8)
                store.record_round(job.id, stage=0, round_number=number, trials=new_trials(trials), rungs=[2])
                leg = a_leg(trials, key=f"r{number}")
                store.record_leg(job.id, leg, a_result(leg), "f")
                store.untracked(job.id)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=record, args=[10 * n]) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.legs(job.id)) == 30


HOLD = """
import sys
from pathlib import Path
from service.store import JobLock
with JobLock(Path(sys.argv[1]), "job"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_one_process_runs_a_job_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    process = start(HOLD, str(tmp_path))
    assert read_lines(process, 1) == ["held"]
    with pytest.raises(ConflictError, match=f"one process at a time.* which process {process.pid} is"):
        JobLock(tmp_path, "job").acquire()
    with JobLock(tmp_path, "another job"):
        pass
    kill(process)
    with JobLock(tmp_path, "job") as lock:
        assert lock.path.read_text() == f"{os.getpid()}\n"


def test_a_lock_is_taken_once_in_a_process_too(tmp_path: Path) -> None:
    lock = JobLock(tmp_path, "job")
    with lock:
        with pytest.raises(ConflictError, match="taken once"):
            lock.acquire()
        with pytest.raises(ConflictError, match=f"process {os.getpid()} is running"):
            JobLock(tmp_path, "job").acquire()
    with lock:
        pass
    lock.release()


FORK = """
import os, sys, time
from pathlib import Path
from service.store import JobLock
lock = JobLock(Path(sys.argv[1]), "job").acquire()
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
    sys.stdin.readline()  # a forked helper that outlives the process that runs the job
    os._exit(0)
time.sleep(600)
"""


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    process = start(FORK, str(tmp_path))
    (child,) = read_lines(process, 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.kill(int(child), 0)  # it lives
    with JobLock(tmp_path, "job"):
        pass
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()  # and ends here


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path)
    path = files.write("job", 12, 6, b"first")
    assert path == tmp_path / "jobs" / "job" / "checkpoints" / "t000012-e000006.ckpt"
    assert files.read("job", 12, 6) == b"first"
    files.write("job", 12, 6, b"second")
    files.write("job", 3, 18, b"other")
    assert files.read("job", 12, 6) == b"second"
    assert files.kept("job") == ((3, 18), (12, 6))
    assert sorted(one.name for one in path.parent.iterdir()) == ["t000003-e000018.ckpt", path.name]


def test_a_deleted_checkpoint_is_not_found(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path)
    files.write("job", 0, 2, b"x")
    files.delete("job", 0, 2)
    files.delete("job", 0, 2)
    with pytest.raises(NotFoundError, match=r"got none for trial 0 of job job at epoch 2 .*--new"):
        files.read("job", 0, 2)
    assert files.kept("job") == ()
    assert files.kept("unknown") == ()


WRITE = """
import sys
from pathlib import Path
from service.store import CheckpointFiles
files = CheckpointFiles(Path(sys.argv[1]))
for number in range(1000000):
    files.write("job", 0, 2, bytes([number % 256]) * 300_000)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    process = start(WRITE, str(tmp_path))
    read_lines(process, 5)
    kill(process)
    data = CheckpointFiles(tmp_path).read("job", 0, 2)
    assert len(data) == 300_000
    assert len(set(data)) == 1
    assert CheckpointFiles(tmp_path).kept("job") == ((0, 2),)
