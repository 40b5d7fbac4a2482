"""A failed job is over: the same command, after a person mended the code, is a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from product import Product

OWN: dict[str, Any] = {
    "name": "own",
    "family": {"module": "people:Line"},
    "data": {"module": "people:Points", "params": {"num_rows": 90}},
    "objective": {"metric": "val_loss"},
    "search": {
        "strategy": "random",
        "space": {"rate": {"low": -1.0, "high": 2.0}},
        "candidates": 9,
        "rungs": {"min_epochs": 2, "reduction_factor": 2},
    },
    "budget": {"epochs": 60, "max_epochs_per_trial": 4},
}


@pytest.fixture
def shop(product: Product) -> Product:
    """A folder with a person's own code, in which commands are typed."""
    (product.folder / "people.py").write_text(Path(__file__).with_name("people.py").read_text())
    return product


def test_a_mended_module_runs_where_it_failed_before(shop: Product) -> None:
    code = shop.folder / "people.py"
    good = code.read_text()
    code.write_text(good.replace("self.line = nn.Linear(2, 1)", "self.line = nn.Linear(2, 1) / 0"))
    spec = shop.write_spec(OWN | {"search": OWN["search"] | {"space": {"rate": {"low": 0.01, "high": 0.2}}}})
    arguments = ["run", spec, "--home", "home", "--engine", "local", "--json"]
    failed = shop.run(*arguments, code=1)
    code.write_text(good)
    ended = shop.run(*arguments)
    assert ended.json["state"] == "completed"
    assert ended.json["job_id"] != failed.json["job_id"]
