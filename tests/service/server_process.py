"""A server process on a home folder, and a worker's part played step by step through the store."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.client import Client
from service.home import Home
from service.legs import Leg, LegResult, Measurement, Member, MemberResult, MemberState
from service.store import NewStage, NewTrial, Role, Store

SPEC: dict[str, Any] = {
    "name": "wine-story",
    "family": "mlp",
    "data": {"name": "wine"},
    "budget": {"epochs": 12, "max_epochs_per_trial": 4},
}
PLAN: dict[str, Any] = {
    "strategy": "ladder",
    "stages": [
        {"number": 0, "name": "lr", "opens": ["lr"], "why": "first", "num_candidates": 2, "max_epochs": 6},
        {"number": 1, "name": "width", "opens": ["width"], "why": "then", "num_candidates": 2, "max_epochs": 6},
    ],
    "rungs": [2, 4],
    "reduction_factor": 2,
    "budget_epochs": 12,
    "max_epochs": 4,
    "metric": "val_accuracy",
    "mode": "max",
    "num_trials": 4,
}


@dataclass
class Served:
    """A server, and what its operator has."""

    home: Path
    url: str
    store: Store
    process: subprocess.Popen[bytes] | None = None
    secrets: dict[tuple[str, Role], str] = field(default_factory=dict)

    def token(self, owner: str = "ada", role: Role = Role.SUBMITTER) -> str:
        """The secret of an owner's token, made when it is first asked for."""
        if (owner, role) not in self.secrets:
            self.secrets[owner, role] = self.store.create_token("tests", owner, role)[1]
        return self.secrets[owner, role]

    def client(self, owner: str = "ada", role: Role = Role.SUBMITTER) -> Client:
        return Client(self.url, self.token(owner, role))

    def start(self) -> None:
        """Start the process and wait until it answers."""
        settings = {
            "HOME": str(self.home),
            "PORT": self.url.rpartition(":")[2],
            "WATCH_POLL_S": "0.05",
            "HEARTBEAT_S": "0.5",
            "SHUTDOWN_S": "2",
            "RATE_PER_MINUTE": "100000",
            "RATE_BURST": "10000",
        }
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNELADDER_")}
        environment |= {f"TUNELADDER_{name}": value for name, value in settings.items()}
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "service.api"], env=environment, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}/healthz", timeout=5).is_success:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.home / "api.log").read_text()
                assert time.monotonic() < deadline, "the server does not answer"

    def stop(self) -> None:
        """End the process, and wait for it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None


@contextmanager
def serve(home: Path) -> Iterator[Served]:
    """Serve a home folder on a free port until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with Store.open(Home(home).store_url()) as store:
        served = Served(home=home, url=url, store=store)
        served.start()
        try:
            yield served
        finally:
            served.stop()


class Worker:
    """Runs one job step by step: two stages of two trials; trial 1 wins with an accuracy of 0.9."""

    def __init__(self, served: Served, job_id: str, *, steps: int = 0) -> None:
        claimed = served.store.claim_job(worker="worker-1", lease_s=600)
        assert claimed is not None
        assert claimed.id == job_id
        self.home, self.job_id = served.home, job_id
        self.store = served.store.fenced(job_id, claimed.attempt)
        self._todo = self._steps()
        self.go(steps)

    def go(self, steps: int | None = None) -> None:
        """Take some steps; all that are left without a number."""
        for number, _ in enumerate(self._todo, start=1):
            if number == steps:
                return

    def _steps(self) -> Iterator[None]:
        stages = [
            NewStage(number=s["number"], name=s["name"], opens=tuple(s["opens"]), why=s["why"])
            for s in PLAN["stages"]
        ]
        self.store.record_plan(
            self.job_id, plan=PLAN, stages=stages, metric="val_accuracy", mode="max", data_fingerprint="wine"
        )
        yield
        for stage, name in enumerate(("lr", "width")):
            yield from self._round(stage, name)
        self.finish()
        yield

    def _round(self, stage: int, name: str) -> Iterator[None]:
        first = 2 * stage
        new = [NewTrial(number=first + n, params={name: 0.5 + n}, seed=n) for n in range(2)]
        self.store.record_round(self.job_id, stage=stage, round_number=stage, trials=new, rungs=[2, 4])
        yield
        self._leg(stage, new, 0, 2, "running")
        yield
        self.store.stop_trials(self.job_id, [first])
        yield
        self._leg(stage, new[1:], 2, 4, "completed")
        yield
        adopted = stage == 0
        why = "first incumbent: trial 1" if adopted else "trial 1 stays: nothing tried beat it at full length"
        outcome = {"num_trials": 2, "epochs": 6, "adopted": adopted, "gain": None, "why": why}
        self.store.record_stage_outcome(self.job_id, stage, outcome)
        yield

    def _leg(self, stage: int, trials: list[NewTrial], start: int, end: int, state: MemberState) -> None:
        members = tuple(Member(number=t.number, params=t.params, seed=t.seed) for t in trials)
        leg = Leg(key=f"r{stage:04d}-e{end:04d}-c00", members=members, start_epoch=start, end_epoch=end)
        results = tuple(
            MemberResult(
                number=m.number,
                state=state,
                measurements=tuple(
                    Measurement(epoch=e, metrics={"val_accuracy": 0.9 - 0.1 * abs(m.number - 1) - 0.01 * (4 - e)})
                    for e in range(start + 1, end + 1)
                ),
                checkpoint=b"w",
                train_s=0.1,
            )
            for m in members
        )
        result = LegResult(key=leg.key, members=results, slot=0, attempt=1, wall_s=0.1, device="cpu")
        self.store.record_leg(self.job_id, leg, result, fingerprint=leg.key)

    def finish(self) -> None:
        """Write the bundle, and say that the job is done."""
        path = write_bundle(self.home / "bundles" / self.job_id)
        self.store.record_export(self.job_id, 1, str(path))
        best = {"number": 1, "params": {"lr": 1.5}, "metrics": {"val_accuracy": 0.9}, "epoch": 4}
        result = {
            "num_trials": 4,
            "num_epochs": 12,
            "best": best,
            "test": {"test_accuracy": 0.875},
            "bundle": str(path),
        }
        self.store.finish_job(self.job_id, best_trial=1, result=result)


def write_bundle(folder: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Write what a bundle's folder holds, with checksums; small, as no network is in it."""
    contents = dict(files or {"checkpoint.ckpt": b"weights" * 1000, "metrics.json": b"{}\n"})
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / "bundle.json").write_text(
        json.dumps({"format": 1, "family": "mlp", "files": sums}), encoding="utf-8"
    )
    return folder
