"""The follower runs behind the training and never disturbs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from followed import all_runs, ask_round, finished_job, follower, planned_job, shown, train_round

from service.store import Store


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    pause, deadline = threading.Event(), time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.02)


@pytest.fixture
def nobody() -> str:
    """The address of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_job_shows_while_it_runs(store: Store, home: Path) -> None:
    job = planned_job(store)
    following = follower(store, job, home).start()
    numbers = ask_round(store, job)
    wait_until(lambda: len(all_runs(home)) == 7)
    train_round(store, job, numbers)
    wait_until(lambda: store.num_untracked(job.id) == 0)
    assert shown(home)["job"]["run"][1] == "RUNNING"
    store.finish_job(job.id, best_trial=0, result={})
    left: list[int] = []
    report = following.stop(on_progress=left.append)
    assert (report.is_complete, report.num_left, report.errors, report.warning) == (True, 0, (), None)
    assert left[-1] == 0
    assert shown(home)["job"]["run"][1] == "FINISHED"
    assert shown(home)["5"]["run"][1] == "KILLED"


def test_to_stop_again_says_the_same(store: Store, home: Path) -> None:
    job = finished_job(store)
    following = follower(store, job, home).start()
    assert following.stop() == following.stop(flush=False)


def test_a_follower_that_never_started_reports_what_is_left(store: Store, home: Path) -> None:
    job = finished_job(store)
    report = follower(store, job, home).stop()
    assert (report.is_complete, report.num_left) == (False, 6)
    assert "behind the job by 6 trials (the job ended before it was done)" in (report.warning or "")


def test_a_server_that_is_away_costs_the_job_nothing(store: Store, home: Path, nobody: str) -> None:
    job = planned_job(store)
    following = follower(store, job, home, tracking_uri=nobody).start()
    train_round(store, job, ask_round(store, job))
    store.finish_job(job.id, best_trial=0, result={})
    report = following.stop(timeout_s=2.0)
    assert not report.is_complete
    assert report.num_left == 6
    assert any("refused" in error for error in report.errors)
    assert "MLflow is behind the job by 6 trials" in (report.warning or "")
    assert store.job(job.id).state == "completed"
    assert follower(store, job, home).start().stop().is_complete
    assert len(all_runs(home)) == 7


def test_a_server_that_hangs_holds_up_the_end_no_longer_than_asked(store: Store, home: Path) -> None:
    """It takes connections and never answers."""
    job = finished_job(store)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        following = follower(store, job, home, tracking_uri=uri).start()
        connection, _ = mute.accept()
        report = following.stop(timeout_s=0.1)
        assert (report.is_complete, report.num_left) == (False, 6)
        connection.close()


def test_a_store_that_is_gone_is_reported(store: Store, home: Path, tmp_path: Path) -> None:
    job = finished_job(store)
    store.close()
    other = tmp_path / "gone" / "store.db"
    following = follower(store, job, home)
    following._store_url = f"sqlite:///{other}"  # no such job there
    report = following.start().stop()
    assert not report.is_complete
    assert any("no job has the id" in error for error in report.errors)


QUIET = """
import sys
from pathlib import Path
from service.tracking import MlflowFollower, local_artifacts, local_tracking_uri
assert "mlflow" not in sys.modules
home = Path(sys.argv[2])
uri = sys.argv[4] if len(sys.argv) > 4 else local_tracking_uri(home)
follower = MlflowFollower(
    sys.argv[1], sys.argv[3], tracking_uri=uri, experiment="x", artifacts=local_artifacts(home), interval_s=0.05
)
sys.exit(0 if follower.start().stop(timeout_s=30 if len(sys.argv) < 5 else 3).is_complete else 7)
"""


@pytest.mark.parametrize("is_away", [False, True])
def test_a_follower_says_nothing(store: Store, tmp_path: Path, nobody: str, is_away: bool) -> None:
    """Not even when it makes the tracking database, or when the server is away."""
    job = finished_job(store)
    home = tmp_path / "new home"
    home.mkdir()
    unset = ("MLFLOW_LOGGING_LEVEL", "MLFLOW_DISABLE_TELEMETRY")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    arguments = [store.url, str(home), job.id, *([nobody] if is_away else [])]
    done = subprocess.run(
        [sys.executable, "-c", QUIET, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == (7 if is_away else 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "new home"]
