"""The real check: its jobs are jobs, and its means are means."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.real_check import PROBLEMS, STRATEGIES, summarize, write_spec


@pytest.mark.parametrize("data", PROBLEMS)
def test_both_strategies_get_the_same_job_but_for_their_name(data: str) -> None:
    specs = [write_spec(data, strategy, 1, folder=Path("/data")) for strategy in STRATEGIES]
    ladder, joint = (spec.model_dump(exclude={"name"}) for spec in specs)
    assert (ladder["search"].pop("strategy"), joint["search"].pop("strategy")) == ("ladder", "joint")
    assert ladder == joint


def test_means_are_taken_over_the_seeds() -> None:
    row = {"data": "digits", "strategy": "ladder", "val_accuracy": 0.9, "test_accuracy": 0.8}
    found = summarize([row | {"seed": 0, "val_loss": 0.1}, row | {"seed": 1, "val_loss": 0.3}])
    assert found["digits"]["ladder"]["val_loss"] == pytest.approx(0.2)
