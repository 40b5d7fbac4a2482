"""What a spec says and hardly means is told before anything runs, and stops nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from in_process import Command

SPEC = {
    "name": "odd",
    "family": "mlp",
    "data": {"name": "wine"},
    "model": {"block": "swiglu", "activation": "tanh", "width": 8},
    "budget": {"epochs": 24, "max_epochs_per_trial": 4},
}
TEXT = "model.activation: has no effect with block swiglu, whose gate is its activation"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


def test_a_plan_names_what_has_no_effect(tuneladder: Command, spec: Path) -> None:
    answer = tuneladder("plan", spec)
    assert answer.code == 0
    assert f"warning: {TEXT}" in " ".join(answer.out.split())
    warnings = json.loads(tuneladder("plan", spec, "--json").out)["warnings"]
    assert len(warnings) == 1
    assert warnings[0].startswith(TEXT)


def test_a_run_names_what_has_no_effect_when_it_starts(tuneladder: Command, spec: Path) -> None:
    answer = tuneladder("run", spec, "--home", "home", "--engine", "local")
    assert answer.code == 0
    assert " ".join(answer.err.split()).count(f"warning: {TEXT}") == 1
    assert "warning" not in answer.out
