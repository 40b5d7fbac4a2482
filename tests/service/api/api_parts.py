"""A service for tests: settings, a store with people in it, jobs that have run, and a server on a real socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import uvicorn
from fastapi import FastAPI

from service.api.server import ApiServer
from service.errors import InvalidSpecError
from service.legs import Leg, LegResult, Measurement, Member, MemberResult
from service.settings import Settings
from service.spec import Spec
from service.store import JobRecord, NewStage, NewTrial, Role, Store

SPEC: dict[str, Any] = {"name": "digits", "family": "mlp", "data": {"name": "digits"}}
BUNDLE_FILES = {"bundle.json": b"{}\n", "checkpoint.ckpt": b"\x00weights" * 100_000, "metrics.json": b"[1]\n"}
LEASE_S = 60


def settings_for(home: Path, **values: Any) -> Settings:
    """Settings that the environment does not reach, without limits that tests would run into."""
    generous = {"rate_per_minute": 100_000, "rate_burst": 100_000, "watch_poll_s": 0.02}
    return Settings(home=home, **(generous | values))


@dataclass
class People:
    """Tokens by who holds them; `ann` and `bob` own jobs, `root` administers."""

    secrets: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def headers(self, who: str | None) -> dict[str, str]:
        return {} if who is None else {"Authorization": f"Bearer {self.secrets[who]}"}


def make_people(store: Store) -> People:
    people = People()
    for who, owner, role in (
        ("root", "root", Role.ADMIN),
        ("ann", "ann", Role.SUBMITTER),
        ("ann-reads", "ann", Role.VIEWER),
        ("bob", "bob", Role.SUBMITTER),
        ("revoked", "ann", Role.ADMIN),
    ):
        token, secret = store.create_token(who, owner, role)
        people.secrets[who], people.ids[who] = secret, token.id
    store.revoke_token(people.ids["revoked"])
    return people


def add_expired(store: Store, people: People) -> None:
    """Give people a token that was good until a moment ago."""
    lifetime_s = 0.1
    while "expired" not in people.secrets:
        try:  # on a machine that stands still for long the end is past before the token is made
            soon = datetime.now(UTC) + timedelta(seconds=lifetime_s)
            token, people.secrets["expired"] = store.create_token("expired", "ann", Role.ADMIN, soon)
        except InvalidSpecError:
            lifetime_s *= 2
    people.ids["expired"] = token.id
    while store.authenticate(people.secrets["expired"]) is not None:
        threading.Event().wait(0.02)


class Asks(Protocol):
    """Sends a request as somebody."""

    def __call__(self, who: str | None, method: str, path: str, **kwargs: Any) -> httpx.Response: ...


def a_job(store: Store, *, owner: str = "ann", name: str = "digits", priority: int = 0) -> JobRecord:
    """A queued job."""
    spec = Spec.model_validate_json(json.dumps({**SPEC, "name": name}))
    return store.create_job(
        name=name,
        spec=spec.model_dump(mode="json"),
        spec_fingerprint=spec.fingerprint(),
        base_dir="/data",
        seed=0,
        owner=owner,
        priority=priority,
    )


def running_job(store: Store, *, owner: str = "ann", num_trials: int = 3, epochs: int = 4) -> JobRecord:
    """A job that a worker runs: a plan, a round, a leg of every trial."""
    job_id = a_job(store, owner=owner, priority=900).id
    claimed = store.claim_job(worker="w", lease_s=LEASE_S)
    assert claimed is not None
    assert claimed.id == job_id
    stages = [
        NewStage(number=n, name=name, opens=(name,), why="it matters") for n, name in enumerate(("lr", "width"))
    ]
    store.record_plan(
        job_id, plan={"epochs": 60}, stages=stages, metric="val_accuracy", mode="max", data_fingerprint="data"
    )
    trials = [NewTrial(number=n, params={"lr": 0.1 / (n + 1)}, seed=n) for n in range(num_trials)]
    store.record_round(job_id, stage=0, round_number=0, trials=trials, rungs=[epochs])
    members = tuple(Member(number=t.number, params=t.params, seed=t.seed) for t in trials)
    leg = Leg(key=f"r0000-e{epochs:04d}-c00", members=members, start_epoch=0, end_epoch=epochs)
    results = tuple(
        MemberResult(
            number=t.number, state="completed", measurements=_measurements(t.number, epochs), checkpoint=b"w"
        )
        for t in trials
    )
    store.record_leg(job_id, leg, LegResult(key=leg.key, members=results, wall_s=1.0), "leg")
    return store.job(job_id)


def _measurements(trial: int, epochs: int) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            epoch=e,
            metrics={
                "val_accuracy": 0.9 - trial / 100 - abs(e - 3) / 10,
                "val_loss": None,
                "health/dead_share/0": 0.9,
            },
        )
        for e in range(1, epochs + 1)
    )


def finished_job(store: Store, home: Path, *, owner: str = "ann") -> JobRecord:
    """A job that has completed, with its bundle."""
    job = running_job(store, owner=owner)
    bundle = home / "bundles" / job.id
    bundle.mkdir(parents=True)
    for name, content in BUNDLE_FILES.items():
        (bundle / name).write_bytes(content)
    store.record_export(job.id, 0, str(bundle))
    best = {"number": 0, "params": {"lr": 0.1}, "metrics": {"val_accuracy": 0.9}, "epoch": 3}
    result = {"best": best, "test": {"test_accuracy": 0.8}, "importances": {"lr": 1.0}, "bundle": str(bundle)}
    store.finish_job(job.id, best_trial=0, result=result)
    return store.job(job.id)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an application on a socket of this machine, and end the server as SIGTERM would."""
    # Named as TCP: asyncio turns off the delay of small packets, 40 ms each, only where the protocol says so.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    server = ApiServer(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5), app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def problem_of(response: httpx.Response) -> Mapping[str, Any]:
    """Check that an answer is a whole problem, and give it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body: dict[str, Any] = response.json()
    assert body.keys() - {"field"} == {"type", "title", "status", "detail", "code", "instance"}
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:tuneladder:problem:{body['code']}"
    assert body["instance"] == response.request.url.path
    return body
