"""What MLflow shows is what is in the store: once, and whatever died in between."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from followed import (
    all_runs,
    ask_round,
    finished_job,
    follower,
    planned_job,
    shown,
    small_job,
    train,
    train_round,
)
from mlflow import MlflowClient

from service.legs import Leg, LegResult, Member, MemberResult
from service.store import JobRecord, Store, TrackingRun
from service.tracking import local_artifacts, local_tracking_uri
from service.tracking.mirror import Mirror
from service.tracking.server import TrackingServer


def connect(home: Path, experiment: str = "digits") -> TrackingServer:
    return TrackingServer.connect(local_tracking_uri(home), experiment, local_artifacts(home))


def milliseconds(moment: Any) -> int:
    return round(moment.timestamp() * 1000)


def test_what_a_slow_server_took_is_on_record_while_it_takes_the_rest(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.tracking.mirror.MARK_PERIOD_S", 0.0)
    job = finished_job(store)
    server = connect(home)
    left: list[int] = []
    create_run = server.create_run

    def count(title: str, **more: Any) -> str:
        left.append(store.num_untracked(job.id))
        return create_run(title, **more)

    monkeypatch.setattr(server, "create_run", count)
    assert Mirror(store, job.id, server).catch_up(is_last=True) == []
    assert left == [6, 6, 5, 4, 3, 2, 1]  # before the job's own run, then before each trial's


def test_a_job_is_a_run_and_each_trial_a_child(store: Store, home: Path) -> None:
    job = finished_job(store)
    assert Mirror(store, job.id, connect(home)).catch_up(is_last=True) == []
    picture = shown(home)
    assert sorted(picture) == ["0", "1", "2", "3", "4", "5", "job"]
    states = {label: one["tags"]["tuneladder.state"] for label, one in picture.items()}
    assert states == {
        "job": "completed",
        "0": "completed",
        "1": "completed",
        "2": "diverged",
        "3": "failed",
        "4": "stopped",
        "5": "cancelled",
    }
    assert {label: one["run"][1] for label, one in picture.items()} == {
        "job": "FINISHED",
        "0": "FINISHED",
        "1": "FINISHED",
        "2": "FAILED",
        "3": "FAILED",
        "4": "FINISHED",
        "5": "KILLED",
    }


def test_a_child_shows_its_trial(store: Store, home: Path) -> None:
    job = finished_job(store)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    trial, child = store.trial(job.id, 1), shown(home)["1"]
    assert child["params"] == {"lr": "0.1", "taper": "true", "cap": "null", "norm": "batch"}
    measured = [
        (m.metrics["val_accuracy"], m.epoch, milliseconds(m.measured_at)) for m in store.measurements(job.id, 1)
    ]
    assert child["metrics"]["val_accuracy"] == sorted(measured)
    assert child["metrics"]["best_value"] == [(trial.best_value, 4, milliseconds(trial.ended_at))]
    assert "val_loss" not in child["metrics"]  # never finite
    tags = {key: text for key, text in child["tags"].items() if key.startswith("tuneladder.")}
    assert tags == {
        "tuneladder.job_id": job.id,
        "tuneladder.kind": "trial",
        "tuneladder.trial": "1",
        "tuneladder.stage": "0",
        "tuneladder.stage_name": "lr",
        "tuneladder.round": "0",
        "tuneladder.seed": "1",
        "tuneladder.state": "completed",
        "tuneladder.epochs": "5",
        "tuneladder.best_epoch": "4",
        "tuneladder.health": "not finite: val_loss in epoch 1: lower the learning rate, or clip the gradient",
    }
    assert child["run"] == ("trial 1", "FINISHED", milliseconds(trial.created_at), milliseconds(trial.ended_at))
    assert shown(home)["3"]["tags"]["tuneladder.message"] == "it raised"


def test_the_parent_shows_the_job(store: Store, home: Path) -> None:
    job = finished_job(store)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    parent = shown(home)["job"]
    assert parent["params"]["search.rungs.min_epochs"] == "2"
    assert parent["params"]["search.order"] == '["lr"]'
    assert parent["params"]["objective.metric"] == "val_accuracy"
    tags = {key.removeprefix("tuneladder."): text for key, text in parent["tags"].items()}
    assert (tags["family"], tags["strategy"], tags["seed"], tags["best_trial"], tags["bundle"]) == (
        "mlp",
        "ladder",
        "7",
        "0",
        "/bundles/digits",
    )
    assert parent["latest"]["test_accuracy"] == 0.85
    assert "test_loss" not in parent["latest"]
    of_classes = {
        key: value for key, value in parent["latest"].items() if key.startswith(("test_per", "test_conf"))
    }
    assert of_classes == {"test_per_class_f1/cat": 0.5, "test_per_class_f1/dog": 0.25}
    best = store.trial(job.id, 0).best_value
    assert [point[:2] for point in parent["metrics"]["best_value"]] == [(best, s) for s in (8, 13, 16, 18, 24)]
    assert parent["artifacts"] == ["plan.json", "report.md", "result.json", "spec.yaml", "trials.csv"]
    assert (parent["latest"]["importance/lr"], parent["latest"]["importance/taper"]) == (0.75, 0.25)
    assert parent["run"][0] == f"digits {job.id}"
    assert parent["run"][2:] == (milliseconds(job.started_at), milliseconds(job.ended_at))


def test_artifacts_lie_in_the_home(store: Store, home: Path) -> None:
    job = finished_job(store)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    (table,) = (home / "artifacts").rglob("trials.csv")
    lines = table.read_text().splitlines()
    assert lines[0] == (
        "number,stage,round,state,epochs,best_epoch,best_value,message,params.cap,params.lr,params.taper"
    )
    assert lines[4] == f"3,0,0,failed,2,2,{store.trial(job.id, 3).best_value},it raised,null,0.001,true"


def test_the_report_says_what_each_stage_opened_tried_gained_and_why(store: Store, home: Path) -> None:
    job = finished_job(store)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    (report,) = (home / "artifacts").rglob("report.md")
    text = report.read_text()
    assert "completed: 6 trials, 24 epochs; objective val_accuracy (max)." in text
    assert "| 0 lr | lr | it matters most | 6 | 2 | 0.25 | yes | trial 0 improves \\| a lot |" in text
    assert "What mattered here (PED-ANOVA): lr 75%, taper 25%; 1 of these 2 lead the documented order." in text
    assert "| **test_accuracy** | 0.85 |" in text


def test_a_range_test_shows_as_a_figure_and_its_numbers(store: Store, home: Path) -> None:
    job = planned_job(store)
    for number in range(2):
        report = {"lr": [0.001, 0.01, 0.1], "loss": [2.0, 1.0 + number, None]}
        leg = Leg(
            key=f"lr_range-{number}",
            members=(Member(number=number, params={}, seed=0),),
            start_epoch=0,
            end_epoch=0,
            kind="lr_range",
        )
        member = MemberResult(number=number, state="completed", report=report)
        store.record_probe(job.id, leg, LegResult(key=leg.key, members=(member,)), "f")
    server = connect(home)
    Mirror(store, job.id, server).catch_up(is_last=True)
    Mirror(store, job.id, server).catch_up(is_last=True)  # another process says it again: it is none more
    seen = shown(home)["job"]
    assert [point[:2] for point in seen["metrics"]["lr_range_test/loss_1"]] == [(2.0, 0), (2.0, 1)]
    assert [point[0] for point in seen["metrics"]["lr_range_test/lr"]] == [0.001, 0.01, 0.1]
    assert {"lr_range_test.png", "probes"} <= set(seen["artifacts"])
    (image,) = home.rglob("lr_range_test.png")
    assert image.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in home.rglob("probes/*.json")) == ["lr_range-0.json", "lr_range-1.json"]


def test_a_job_followed_step_by_step_looks_like_one_logged_at_the_end(store: Store, home: Path) -> None:
    job = planned_job(store)
    mirror = Mirror(store, job.id, connect(home))
    mirror.catch_up()
    for number in range(2):
        numbers = ask_round(store, job, number)
        mirror.catch_up()
        train_round(store, job, numbers)
        mirror.catch_up()
    store.finish_job(job.id, best_trial=0, result={})
    mirror.catch_up(is_last=True)
    later = "logged at the end"
    Mirror(store, job.id, connect(home, later)).catch_up(is_last=True)
    assert shown(home) == shown(home, later)
    assert len(shown(home)) == 13


def test_nothing_is_shown_before_there_is_a_plan(store: Store, home: Path) -> None:
    job = store.create_job(name="digits", spec={}, spec_fingerprint="f", base_dir="/", seed=0)
    server = connect(home)
    assert Mirror(store, job.id, server).catch_up() == []
    assert all_runs(home) == []
    store.fail_job(job.id, "the data is not there")
    Mirror(store, job.id, server).catch_up(is_last=True)
    parent = shown(home)["job"]
    assert parent["run"][1] == "FAILED"
    assert parent["tags"]["tuneladder.message"] == "the data is not there"


def test_to_log_again_changes_nothing(store: Store, home: Path) -> None:
    job = finished_job(store)
    for _ in range(2):
        Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    once = shown(home)
    store.forget_tracked(job.id)  # as if nothing of what was logged were on record
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    assert shown(home) == once


def test_deleted_runs_are_made_again(store: Store, home: Path) -> None:
    job = finished_job(store)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    before = shown(home)
    client = MlflowClient(tracking_uri=local_tracking_uri(home))
    for run in all_runs(home)[2:5]:
        client.delete_run(run.info.run_id)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    after = shown(home)
    assert sorted(after) == sorted(before)
    assert {label: one["metrics"] for label, one in after.items()} == {
        label: one["metrics"] for label, one in before.items()
    }


def test_a_paused_job_shows_as_waiting_and_goes_on(store: Store, home: Path) -> None:
    job = planned_job(store)
    numbers = ask_round(store, job)
    train(store, job, dict.fromkeys(numbers, ("running", 2)), 0, 2)
    store.pause_job(job.id)
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    assert {one["run"][1] for one in shown(home).values()} == {"SCHEDULED"}
    store.start_job(job.id)
    Mirror(store, job.id, connect(home)).catch_up()
    assert {one["run"][1] for one in shown(home).values()} == {"RUNNING"}
    store.fail_job(job.id, "the disk is full")
    Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    assert shown(home)["job"]["run"][1] == "FAILED"
    assert shown(home)["0"]["run"][1] == "KILLED"


def test_a_trial_that_mlflow_refuses_holds_up_no_other(store: Store, home: Path) -> None:
    """Somebody else wrote another value of a parameter, which MLflow never changes."""
    job = planned_job(store)
    numbers = ask_round(store, job)
    mirror = Mirror(store, job.id, connect(home))
    mirror.catch_up()
    store.forget_tracked(job.id)
    (spoiled,) = [run for run in all_runs(home) if run.data.tags.get("tuneladder.trial") == "1"]
    client = MlflowClient(tracking_uri=local_tracking_uri(home))
    client.delete_run(spoiled.info.run_id)
    other = client.create_run(spoiled.info.experiment_id, tags=spoiled.data.tags)
    client.log_param(other.info.run_id, "lr", "7")
    train_round(store, job, numbers)
    store.finish_job(job.id, best_trial=0, result={})
    refusals = Mirror(store, job.id, connect(home)).catch_up(is_last=True)
    assert len(refusals) == 1
    assert "Changing param values is not allowed" in str(refusals[0])
    picture = shown(home)
    assert all("val_accuracy" in picture[str(n)]["metrics"] for n in (0, 2, 3, 4, 5))
    assert [change.trial.number for change in store.untracked(job.id)] == [1]


class ProcessEndedError(Exception):
    """The process ended here: nothing that it would do after this happens."""


class Life:
    """A process that ends at its n-th step: a request to MLflow, or a record of what was logged."""

    def __init__(self, num_steps: int, *, is_done: bool) -> None:
        self._left = num_steps
        self._is_done = is_done

    def step(self, action: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Do a step. The last one is done, but its answer is lost; or it is not done."""
        self._left -= 1
        if self._left < -1 or (self._left == -1 and not self._is_done):
            raise ProcessEndedError
        answer = action(*args, **options)
        if self._left == -1:
            raise ProcessEndedError
        return answer


class MortalClient:
    def __init__(self, client: MlflowClient, life: Life) -> None:
        self._client = client
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return partial(self._life.step, getattr(self._client, name))


class MortalStore(Store):
    life: Life

    def record_tracked(self, job_id: str, runs: Iterable[TrackingRun]) -> None:
        self.life.step(super().record_tracked, job_id, runs)


def follow_until_it_ends(
    store: Store, job: JobRecord, home: Path, life: Life, *, experiment: str = "digits"
) -> bool:
    """Say whether everything was logged before the process ended."""
    server = connect(home, experiment)
    server._client = MortalClient(server._client, life)  # type: ignore[assignment]
    with MortalStore.open(store.url) as mortal:
        mortal.life = life
        try:
            Mirror(mortal, job.id, server).catch_up(is_last=True)
        except ProcessEndedError:
            return False
    return True


@pytest.mark.parametrize("is_done", [False, True])
def test_processes_may_die_one_after_the_other(store: Store, home: Path, is_done: bool) -> None:
    """They die at their first, second, ... step, until one comes through. Then all is shown, and once."""
    job = finished_job(store)
    deaths = 0
    while not follow_until_it_ends(store, job, home, Life(deaths, is_done=is_done)):
        deaths += 1
    assert deaths > 10
    undisturbed = "undisturbed"
    Mirror(store, job.id, connect(home, undisturbed)).catch_up(is_last=True)
    assert shown(home) == shown(home, undisturbed)


def test_every_single_death_is_survived(store: Store, home: Path) -> None:
    """One death each, at every step of an undisturbed process, with nothing of the earlier ones left."""
    job = small_job(store)
    pictures: list[dict[str, Any]] = []
    while True:
        store.forget_tracked(job.id)
        experiment = f"death {len(pictures)}"
        life = Life(len(pictures), is_done=True)
        if follow_until_it_ends(store, job, home, life, experiment=experiment):
            break
        Mirror(store, job.id, connect(home, experiment)).catch_up(is_last=True)
        pictures.append(shown(home, experiment))
    assert len(pictures) > 12
    undisturbed = shown(home, experiment)
    assert all(picture == undisturbed for picture in pictures)


FOLLOW = """
import sys
from pathlib import Path
from service.tracking import MlflowFollower, local_artifacts, local_tracking_uri
home = Path(sys.argv[2])
follower = MlflowFollower(
    sys.argv[1], sys.argv[3],
    tracking_uri=local_tracking_uri(home), experiment="digits", artifacts=local_artifacts(home),
)
sys.exit(0 if follower.start().stop().is_complete else 1)
"""


def wait_for_rows(home: Path, table: str, enough: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as raw:
        while raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0] < enough:
            assert process.poll() is None, "it was done before it could be killed"
            pause.wait(0.005)


def test_a_killed_follower_is_continued_by_the_next_one(store: Store, home: Path) -> None:
    """Real processes, killed when MLflow holds a part of it."""
    job = finished_job(store, num_rounds=5)
    command = [sys.executable, "-c", FOLLOW, store.url, str(home), job.id]
    for table, enough in (("metrics", 1), ("runs", 14)):
        process = subprocess.Popen(command)
        wait_for_rows(home, table, enough, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.num_untracked(job.id) > 0
    assert subprocess.run(command, check=False).returncode == 0
    undisturbed = "undisturbed"
    assert follower(store, job, home, experiment=undisturbed).start().stop().is_complete
    assert shown(home) == shown(home, undisturbed)
    assert len(all_runs(home)) == 31


def test_two_servers_may_be_told_of_the_same_job(store: Store, home: Path) -> None:
    job = finished_job(store)
    for experiment in ("first", "second", "first"):
        Mirror(store, job.id, connect(home, experiment)).catch_up(is_last=True)
    assert shown(home, "first") == shown(home, "second")
