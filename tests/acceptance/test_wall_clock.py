"""A wall-clock budget ends a job early, at the end of a leg, and changes nothing that came before."""

from __future__ import annotations

import pytest
from conftest import SMALL
from product import Product, Record, wait_until

LONG = SMALL | {"search": {"strategy": "joint"}, "budget": {"epochs": 100_000, "max_epochs_per_trial": 4}}


@pytest.mark.long
def test_a_job_that_ran_out_of_time_did_what_the_unlimited_one_does_first(product: Product) -> None:
    budget = LONG["budget"] | {"wall_clock": "4s"}
    spec = product.write_spec(LONG | {"budget": budget})
    ended = product.run("run", spec, "--home", "limited", "--engine", "local", "--json")
    limited, unlimited = Record(product.folder / "limited"), Record(product.folder / "unlimited")
    assert ended.json["state"] == "completed"
    assert ended.json["best"]["metrics"]["val_accuracy"] > 0.3
    assert ended.json["test"]["test_accuracy"] > 0.3
    assert ended.json["num_epochs"] < 100_000

    arguments = ["run", product.write_spec(LONG), "--home", "unlimited", "--engine", "local"]
    started = product.start(*arguments)
    wait_until(lambda: unlimited.count("legs") > limited.count("legs"), what="as many legs", process=started)
    started.kill_tree()

    for query in (
        "SELECT key, fingerprint, start_epoch, end_epoch FROM legs",
        "SELECT trial, epoch, metrics FROM measurements",
        "SELECT number, stage, round, params, seed FROM trials",
    ):
        assert set(limited.rows(query)) <= set(unlimited.rows(query))
    states = {state for (state,) in limited.rows("SELECT state FROM trials")}
    assert states <= {"completed", "stopped", "cancelled"}
