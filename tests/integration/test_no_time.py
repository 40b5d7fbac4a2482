"""A wall-clock budget that ends before the first leg: the job fails and names the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from in_process import Command
from mistakes import GOOD


def test_a_job_with_no_time_for_a_single_leg_says_so(tuneladder: Command, tmp_path: Path) -> None:
    budget = {"epochs": 100_000, "max_epochs_per_trial": 4, "wall_clock": 0.001}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(GOOD | {"search": {"strategy": "joint"}, "budget": budget}))
    ended = tuneladder("run", "spec.yaml", "--home", "home", "--engine", "local", "--json")
    result = json.loads(ended.out.splitlines()[-1])
    assert ended.code == 1
    assert result["state"] == "failed"
    assert "raise budget.wall_clock" in result["message"]
    assert ended.err.count("error: ") == 1
