"""A set that no memory holds gives the same job as the same set in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from in_process import Command
from PIL import Image

STREAMED = {"memory_limit_gib": 1e-6}  # nothing fits


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_DATA", str(tmp_path / "sets"))
    generator = np.random.default_rng(0)
    for number in range(60):
        bright = 60 * (number % 2)
        path = tmp_path / "pictures" / ("dark", "light")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(bright, 160 + bright, (8, 8), dtype=np.uint8)).save(path)


def _run(tuneladder: Command, folder: Path, name: str, data: dict[str, Any]) -> Any:
    spec = {
        "family": "cnn",
        "data": {"images": "pictures", "channels": 1, **data},
        "model": {"width": 4, "stages": 1, "head_width": 0, "block": "plain"},
        "search": {"strategy": "random"},
        "budget": {"epochs": 12, "max_epochs_per_trial": 3},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    ended = tuneladder("run", f"{name}.yaml", "--home", name, "--engine", "local", "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out.splitlines()[-1])
    return result["best"]["params"], result["best"]["metrics"], result["test"]


def test_a_streamed_job_is_the_job_in_memory(tuneladder: Command, tmp_path: Path) -> None:
    streamed = tmp_path / "sets" / "streamed"
    held = _run(tuneladder, tmp_path, "held", {})
    assert not streamed.exists()
    assert _run(tuneladder, tmp_path, "streamed", STREAMED) == held
    assert any(streamed.iterdir())
