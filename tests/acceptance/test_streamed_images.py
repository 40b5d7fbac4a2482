"""A set that no memory holds gives the same job on Ray as the same set in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from product import Product

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


def _run(product: Product, name: str, data: dict[str, Any], *options: str) -> Any:
    spec = {
        "family": "cnn",
        "data": {"images": "pictures", "channels": 1, **data},
        "model": {"width": 4, "stages": 1, "head_width": 0, "block": "plain"},
        "search": {"strategy": "random"},
        "budget": {"epochs": 12, "max_epochs_per_trial": 3},
    }
    path = product.write_spec(spec, name=f"{name}.yaml")
    result = product.run("run", path, "--home", product.folder / name, "--json", *options).json
    return result["best"]["params"], result["best"]["metrics"], result["test"]


@pytest.mark.long
def test_a_job_streamed_on_ray_is_the_job_in_memory(product: Product) -> None:
    held = _run(product, "held", {}, "--engine", "local")
    assert _run(product, "on-ray", STREAMED, "--slots", "2") == held
