"""Dry runs: a process of its own makes the plan, and ends when nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from api_parts import SPEC, settings_for

from service.api import dry_runs, schemas
from service.api.dry_runs import DryRuns
from service.api.problems import ProblemError
from service.documents import parse_spec
from service.errors import InvalidSpecError

# Stands where the module that imports torch does: says who it is, starts a process of its own, and never answers.
SLEEPER = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
path = pathlib.Path(os.environ["SLEEPER_PIDS"])
path.with_suffix(".half").write_text(f"{os.getpid()} {child.pid}")
path.with_suffix(".half").rename(path)
time.sleep(600)
"""


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let dry runs be sleepers; gives where the latest one writes its processes."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLEEPER_PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(dry_runs, "MODULE", "sleeper")
    return tmp_path / "pids"


async def appears(path: Path) -> list[int]:
    while not path.exists():
        await asyncio.sleep(0.01)
    return [int(pid) for pid in path.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def all_end(pids: list[int]) -> None:
    while not all(is_gone(pid) for pid in pids):
        await asyncio.sleep(0.01)


def test_a_plan_is_what_the_command_line_says(tmp_path: Path) -> None:
    spec = parse_spec({**SPEC, "budget": {"epochs": 60}, "model": {"bogus": 1}})
    wrong = DryRuns("sqlite://", limit_s=120, max_at_once=1)
    with pytest.raises(InvalidSpecError, match="bogus") as caught:
        asyncio.run(wrong.plan(spec, never))
    assert caught.value.field == "model.bogus"
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SPEC, "budget": {"epochs": 60}}))
    settings = settings_for(tmp_path / "home")
    plans = DryRuns(settings.store_url(), limit_s=120, max_at_once=1)
    made = asyncio.run(plans.plan(parse_spec(json.loads(path.read_text())), never))
    schemas.Plan.model_validate(made)
    shown = subprocess.run(
        [sys.executable, "-m", "service.cli", "plan", str(path), "--json", "--home", str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(shown.stdout)
    for document in (made, said):
        assert document.pop("estimate")["num_slots"] >= 1  # what it took differs from run to run
    assert made == said
    assert not (tmp_path / "home").exists()


def test_who_goes_away_ends_the_process_and_what_it_started(sleeper: Path) -> None:
    async def story() -> Any:
        async def gone() -> None:
            pids.extend(await appears(sleeper))

        pids: list[int] = []
        answer = await DryRuns("sqlite://", limit_s=60, max_at_once=1).plan(parse_spec(SPEC), gone)
        await all_end(pids)
        return answer, len(pids)

    assert asyncio.run(story()) == (None, 2)


def test_what_takes_too_long_is_ended_too(sleeper: Path) -> None:
    async def story() -> None:
        plans = DryRuns("sqlite://", limit_s=3, max_at_once=1)
        with pytest.raises(ProblemError, match="within 3 s") as caught:
            await plans.plan(parse_spec(SPEC), never)
        assert (caught.value.code, caught.value.headers["Retry-After"]) == ("unavailable", "30")
        if sleeper.exists():  # on a machine that was too busy for three seconds it never came so far
            await all_end(await appears(sleeper))

    asyncio.run(story())


def test_so_many_at_once_and_the_rest_wait_or_come_back(sleeper: Path) -> None:
    async def story() -> None:
        plans = DryRuns("sqlite://", limit_s=60, max_at_once=1)
        stop = asyncio.Event()

        async def gone() -> None:
            await stop.wait()

        tasks = [asyncio.create_task(plans.plan(parse_spec(SPEC), gone)) for _ in range(dry_runs.MAX_WAITING)]
        pids = await appears(sleeper)
        ours = psutil.Process().children()
        assert len([process for process in ours if "sleeper" in process.cmdline()]) == 1
        with pytest.raises(ProblemError, match="too many plans") as caught:
            await plans.plan(parse_spec(SPEC), gone)
        assert caught.value.code == "rate_limited"
        stop.set()
        assert await asyncio.gather(*tasks) == [None] * dry_runs.MAX_WAITING
        await all_end(pids)

    asyncio.run(story())


def test_a_process_that_dies_is_a_fault_and_not_the_spec_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_runs, "MODULE", "no_such_module")
    with pytest.raises(ProblemError, match="log says more") as caught:
        asyncio.run(DryRuns("sqlite://", limit_s=60, max_at_once=1).plan(parse_spec(SPEC), never))
    assert caught.value.code == "internal"
