"""`make compose-check`: the whole deployment, from the image to a job that loses a node, and nothing left behind.

Needs Docker. On a machine without an image registry, BASE_IMAGES names a program that makes the base images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from deployment import Deployment

from service.client import Client, LegEvent
from service.tracking.describe import JOB_TAG, KIND_TAG

EXPERIMENT = "compose-check"
# Legs of some seconds, and more of them than slots: whatever moment a node is lost in, it holds one.
SPEC = {
    "name": EXPERIMENT,
    "family": "mlp",
    "data": {"name": "digits"},
    "model": {"width": 512, "depth": 3, "batch_size": 16},
    "search": {"strategy": "random", "candidates": 9, "rungs": {"min_epochs": 20}},
    "budget": {"epochs": 300, "max_epochs_per_trial": 60},
    "early_stopping": {"patience": None},
    "seed": 1,
}
JOB_TIMEOUT_S = 900.0
KNOCK = ["python", "-IS", "/opt/tuneladder/healthcheck.py"]


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a step, and how long it took."""
    _say(f"== {title}")
    began = time.monotonic()
    yield
    _say(f"   {time.monotonic() - began:.0f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Carry out the check; whatever happens, remove what was started."""
    if program := os.environ.get("BASE_IMAGES"):
        with step(f"base images: {program}"):
            subprocess.run([program], check=True)
    with tempfile.TemporaryDirectory(prefix="compose-check-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the containers' user reads the folders that are mounted
        deployment = Deployment(folder, RAY_WORKER_CPUS="1", RAY_SHM_SIZE="512m")
        try:
            with step("removing what an earlier check has left"):
                deployment.remove()
            with step("building the image"):
                deployment.compose("build")
            with step("starting every service, with two ray-workers"):
                deployment.compose("up", "--detach", "--scale", "ray-worker=2")
            token = _make_token(deployment)
            _check_doors(deployment, token)
            with Client(f"http://127.0.0.1:{deployment.ports['API_PORT']}", token) as client:
                _check_job(deployment, client, folder)
        except BaseException:
            _say("== FAILED; the services' last words:")
            deployment.compose("ps")
            deployment.compose("logs", "--no-color", "--tail=150")
            raise
        finally:
            with step("removing everything, volumes included"):
                deployment.remove()
    _say("compose-check: passed")


def _make_token(deployment: Deployment) -> str:
    with step("making a token"):
        answer = deployment.ask("api", "tuneladder", "token", "create", "check", "--role", "admin", "--json")
        return str(json.loads(answer)["token"])


def _check_doors(deployment: Deployment, token: str) -> None:
    """What must stay shut."""
    with step("trying doors that must be shut"):
        api = f"http://127.0.0.1:{deployment.ports['API_PORT']}"
        mlflow_server = f"http://127.0.0.1:{deployment.ports['MLFLOW_PORT']}"
        assert _status(f"{api}/v1/jobs") == 401, "the API answers nobody without a token"
        assert _status(f"{api}/v1/jobs", Authorization=f"Bearer {token}") == 200
        assert _status(f"{mlflow_server}/", Host="evil.example") == 403, "MLflow knows its own names"
        knock = ("ray", "health-check", "--address=ray-head:6379")
        assert not deployment.refuses("ray-worker", *knock)
        assert deployment.refuses("ray-worker", *knock, env={"RAY_AUTH_TOKEN": "0" * 48}), "Ray asks for its token"
        assert not deployment.refuses("worker", *KNOCK, "tcp://postgres:5432")
        assert deployment.refuses("ray-worker", *KNOCK, "tcp://postgres:5432"), "trained code reaches no database"
        for service in ("api", "worker", "mlflow", "ray-head", "ray-worker"):
            assert deployment.ask(service, "id", "-u").strip() == "10001", f"{service} is not root"


def _status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _check_job(deployment: Deployment, client: Client, folder: Path) -> None:
    with step("submitting a job and losing a ray-worker in the middle of a leg"):
        job_id = client.submit(SPEC).id
        num_legs = 0
        for event in client.watch(job_id):
            if not isinstance(event, LegEvent):
                continue
            num_legs += 1
            if num_legs == 1:
                lost = deployment.containers("ray-worker")[0]
                subprocess.run(["docker", "kill", lost], check=True, stdout=subprocess.DEVNULL)
                _say(f"   killed ray-worker {lost} after {event.data.key}")
        job = client.wait(job_id, timeout_s=JOB_TIMEOUT_S)
        assert job.state == "completed", f"the job is {job.state}: {job.message}"
        again = _query(deployment, f"SELECT count(*) FROM legs WHERE job_id = '{job_id}' AND attempt > 1")
        assert again > 0, "no leg was run again: the node that was lost held none"
        _say(f"   completed: {num_legs} legs, {again} of them run again elsewhere")
    with step("fetching the bundle"):
        bundle = client.download(job_id, folder / "bundle")  # checks the files against their checksums
        lineage = json.loads((bundle / "lineage.json").read_text())
        assert client.best(job_id).number == lineage["trial"], lineage
    with step("reading the runs back through the MLflow server"):
        _check_runs(deployment, job_id, len(list(client.trials(job_id))), folder)
    with step("taking everything down, and up again: the volumes stay"):
        deployment.compose("down", "--timeout", "30")
        deployment.compose("up", "--detach", "api", "mlflow")
        _wait_until_ready(f"{client.url}/healthz")
        assert client.job(job_id).state == "completed"
        client.download(job_id, folder / "bundle-again")
        _wait_until_ready(f"http://127.0.0.1:{deployment.ports['MLFLOW_PORT']}/health")
        _check_runs(deployment, job_id, len(list(client.trials(job_id))), folder)


def _query(deployment: Deployment, statement: str) -> int:
    line = ("psql", "--username=postgres", "--dbname=tuneladder", "--tuples-only", f"--command={statement}")
    return int(deployment.ask("postgres", *line))


def _check_runs(deployment: Deployment, job_id: str, num_trials: int, folder: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"http://127.0.0.1:{deployment.ports['MLFLOW_PORT']}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{JOB_TAG}` = '{job_id}'")
    parents = [run for run in runs if run.data.tags[KIND_TAG] == "job"]
    trials = [run for run in runs if run.data.tags[KIND_TAG] != "job"]
    assert len(parents) == 1, f"one run is the job, got {len(parents)}"
    assert len(trials) == num_trials, f"each of {num_trials} trials has a run, got {len(trials)}"
    assert all(run.data.metrics and run.data.params for run in trials), "each has params and metrics"
    artifacts = client.list_artifacts(parents[0].info.run_id)
    assert artifacts, "the job's run has artifacts"
    file = next(one for one in artifacts if not one.is_dir)
    fetched = Path(client.download_artifacts(parents[0].info.run_id, file.path, str(folder)))
    assert fetched.stat().st_size == file.file_size


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if _status(url) == 200:
                return
        except OSError:  # not listening yet
            pass
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.5)


if __name__ == "__main__":
    main()
