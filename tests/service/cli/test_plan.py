"""`tuneladder plan` shows what a run in the same home would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from service.cli.app import app
from service.documents import parse_spec
from service.embedded import run_job
from service.seats import RunOptions

SPEC: dict[str, Any] = {
    "name": "wine",
    "family": "mlp",
    "data": {"name": "wine"},
    "search": {"prior": "history"},
    "budget": {"epochs": 30, "max_epochs_per_trial": 3},
}


def planned(spec: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", str(spec), "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_plan_starts_from_the_winners_of_earlier_jobs_in_the_home(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    home = tmp_path / "home"
    assert planned(spec, "--home", str(home))["starts"] == []
    assert not home.exists()
    earlier = run_job(parse_spec(SPEC | {"name": "earlier"}), home=home, options=RunOptions(engine="local"))
    (start,) = planned(spec, "--home", str(home))["starts"]
    assert start == earlier.result["best"]["params"]
    shown = CliRunner().invoke(app, ["plan", str(spec), "--home", str(home)])
    assert "starting point 1, of an earlier job: lr=" in shown.output
