"""The connection to the tracking server: MLflow, imported late and kept quiet."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from service.interrupts import interrupts_wait
from service.tracking.describe import JOB_TAG, KIND_TAG, TRIAL_TAG, Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

# What one request takes: 100 params, 100 tags, 1000 in all. Source: mlflow/utils/validation.py
PARAMS = TAGS = 100
METRICS = 1000 - PARAMS - TAGS

REQUESTS_AT_ONCE = 32  # to a server; a database is written by one after the other

# Read by MLflow when it is imported (the first two) and at each request. A person's own settings win.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is in the follower's report
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the follower tries again itself, and can be stopped meanwhile
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; 120 by default
    "MLFLOW_HTTP_POOL_MAXSIZE": str(REQUESTS_AT_ONCE),  # connections; 10 by default
}
# Errors that lie in what is said, not in the server: to say it again would not help.
_REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"})

Item = TypeVar("Item")
_SQLITE = "sqlite:///"


def local_tracking_uri(home: Path) -> str:
    """Name the tracking database of a home."""
    return f"sqlite:///{home.expanduser().resolve() / 'mlflow.db'}"


def local_artifacts(home: Path) -> str:
    """Name the folder of the artifacts of a home, as a URI."""
    return (home.expanduser().resolve() / "artifacts").as_uri()


@dataclass(frozen=True, kw_only=True)
class TrackingPlace:
    """Where MLflow's runs go.

    Args:
        uri: Of the MLflow server, or `sqlite:///...` of its database.
        artifacts: Where a new experiment keeps artifacts, as a URI; None leaves it to the server.
    """

    uri: str
    artifacts: str | None = None

    @classmethod
    def local(cls, home: Path) -> TrackingPlace:
        """Name the database and the folder of a home."""
        return cls(uri=local_tracking_uri(home), artifacts=local_artifacts(home))


def is_refusal(error: BaseException) -> bool:
    """Say whether an error lies in one run, so that the others should go on."""
    return getattr(error, "error_code", None) in _REFUSALS


def _set_environment() -> None:
    for key, setting in _SETTINGS.items():
        os.environ.setdefault(key, setting)


def preload() -> None:
    """Import MLflow now, and its database: seconds that a follower would otherwise take when it begins."""
    _set_environment()
    with interrupts_wait():
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def make_database(file: Path) -> None:
    """Make MLflow's database whole or not at all.

    MLflow makes its tables one migration after another, seconds in all. A process that ends in between would leave
    a database that no later one can use, and two that begin at once would disturb each other.
    """
    if file.exists():
        return
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.half")
    with half.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():  # another process was faster
            return
        for left in (half, *(half.with_name(half.name + end) for end in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"{_SQLITE}{half}").search_experiments(max_results=1)
        with closing(sqlite3.connect(half)) as database:  # people look while the job writes, and it writes faster
            database.execute("PRAGMA journal_mode=WAL")
        half.rename(file)


class TrackingServer:
    """One experiment of a tracking server, and the runs of one job in it.

    To say something again changes nothing: the same metric, parameter or tag is none more. Runs are the exception:
    look for them before you make them.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, *, requests_at_once: int = 1) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self.requests_at_once = requests_at_once

    @classmethod
    def connect(cls, tracking_uri: str, experiment: str, artifacts: str | None) -> TrackingServer:
        """Find the experiment or make it.

        Args:
            tracking_uri: Of the server, or `sqlite:///...` of its database.
            experiment: Its name.
            artifacts: Where a new experiment keeps artifacts; None leaves it to the server.

        Raises:
            MlflowException: The server is away or refuses.
        """
        _set_environment()
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # another library may have imported it before
        if tracking_uri.startswith(_SQLITE):
            make_database(Path(tracking_uri.removeprefix(_SQLITE)))
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=tracking_uri)
        at_once = REQUESTS_AT_ONCE if tracking_uri.startswith(("http://", "https://")) else 1
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return cls(client, found.experiment_id, requests_at_once=at_once)
        try:
            made = client.create_experiment(experiment, artifact_location=artifacts)
            return cls(client, made, requests_at_once=at_once)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(experiment)  # another job of the experiment was faster
            if found is None:
                raise
            return cls(client, found.experiment_id, requests_at_once=at_once)

    def find_runs(self, job_id: str) -> dict[int | None, str]:
        """Find the runs of a job: trial number (None: the job itself) to run id."""
        found: dict[int | None, str] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{JOB_TAG}` = '{job_id}'",
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
            for run in page:
                tags = run.data.tags
                if tags.get(KIND_TAG) == "job":
                    found.setdefault(None, run.info.run_id)
                elif TRIAL_TAG in tags:
                    found.setdefault(int(tags[TRIAL_TAG]), run.info.run_id)
            token = page.token
            if not token:
                return found

    def create_run(self, title: str, *, start_ms: int, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Make a run and say its id."""
        family = {} if parent is None else {"mlflow.parentRunId": parent}
        run = self._client.create_run(
            self._experiment_id, start_time=start_ms, tags={**tags, **family}, run_name=title
        )
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log everything in as few requests as MLflow allows."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = _chunks([Metric(one.key, one.value, one.timestamp_ms, one.step) for one in points], METRICS)
        some_params = _chunks([Param(*pair) for pair in (params or {}).items()], PARAMS)
        some_tags = _chunks([RunTag(*pair) for pair in (tags or {}).items()], TAGS)
        requests: Iterable[tuple[Any, ...]] = zip_longest(metrics, some_params, some_tags, fillvalue=())
        for request in requests:
            self._client.log_batch(run_id, *request)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as an artifact."""
        self._client.log_text(run_id, text, file)

    def log_figure(self, run_id: str, figure: Figure, file: str) -> None:
        """Keep a figure as an artifact, an image by the ending of its name."""
        self._client.log_figure(run_id, figure, file)

    def set_status(self, run_id: str, status: str, *, end_ms: int | None) -> None:
        """Say where a run stands, and when it ended if it has."""
        if end_ms is None:
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status=status, end_time=end_ms)


def _chunks(items: Iterable[Item], size: int) -> Iterable[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
