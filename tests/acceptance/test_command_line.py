"""The commands, as a person or a program meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from product import COMMAND, Product, Record, wait_until


@pytest.fixture(scope="module")
def finished(undisturbed: tuple[Record, Any]) -> Path:
    """A home in which one job has finished; tests only read it."""
    return undisturbed[0].home


def ask(product: Product, home: Path, *arguments: str) -> Any:
    return product.run(*arguments, "--home", home, "--json").json


@pytest.mark.long
def test_a_finished_job_shows_its_result_without_training(
    product: Product, finished: Path, undisturbed: tuple[Record, Any]
) -> None:
    spec = product.write_spec(SMALL)
    before = undisturbed[0].story(), undisturbed[0].legs()
    again = product.run("run", spec, "--home", finished, "--engine", "local", "--json")
    assert again.json == undisturbed[1]
    assert (undisturbed[0].story(), undisturbed[0].legs()) == before


def test_a_second_process_on_the_same_job_is_refused_and_told_who_runs_it(product: Product) -> None:
    home = product.folder / "home"
    record = Record(home)
    arguments = [
        "run", product.write_spec(SMALL | {"budget": {"epochs": 4000}}), "--home", home, "--engine", "local"
    ]  # fmt: skip
    first = product.start(*arguments)
    wait_until(lambda: record.count("legs") >= 1, what="the first leg is on record", process=first)
    second = product.run(*arguments, code=2)
    assert f"which process {first.popen.pid} is running" in second.err
    assert second.err.count("error: ") == 1
    assert record.states() == ["running"]
    first.popen.send_signal(signal.SIGINT)
    assert first.wait() == 130


def test_trials_as_json_has_the_promised_shape(product: Product, finished: Path) -> None:
    trials = ask(product, finished, "trials")
    assert [trial["number"] for trial in trials] == list(range(len(trials)))
    for trial in trials:
        assert {"number", "stage", "round", "params", "state", "epochs", "metrics"} <= trial.keys()
        assert trial["state"] in {"completed", "stopped"}
        assert all(isinstance(value, float) for value in trial["metrics"].values())
        assert {"val_loss", "val_accuracy", "val_macro_f1"} <= trial["metrics"].keys()
        assert 1 <= trial["best_epoch"] <= trial["epochs"] <= 4


def test_run_as_json_has_the_promised_shape(product: Product, undisturbed: tuple[Record, Any]) -> None:
    result = undisturbed[1]
    promised = {"job_id", "state", "num_trials", "num_epochs", "wall_s", "best", "test", "bundle"}
    assert promised <= result.keys()
    assert {"number", "params", "metrics", "epoch"} <= result["best"].keys()
    trials = ask(product, undisturbed[0].home, "trials", result["job_id"])
    assert result["num_trials"] == len(trials)
    assert result["num_epochs"] == sum(trial["epochs"] for trial in trials) <= SMALL["budget"]["epochs"]
    winner = trials[result["best"]["number"]]
    assert (winner["params"], winner["metrics"]) == (result["best"]["params"], result["best"]["metrics"])
    assert Path(result["bundle"]).is_dir()


def test_a_job_is_found_by_the_beginning_of_its_id(
    product: Product, finished: Path, undisturbed: tuple[Record, Any]
) -> None:
    job_id = undisturbed[1]["job_id"]
    assert ask(product, finished, "best", job_id[:10]) == undisturbed[1]
    for command in ("best", "trials", "export"):
        unknown = product.run(command, "zzzz", "--home", finished, code=2)
        assert "error: no job has the id 'zzzz': `tuneladder jobs` lists them" in unknown.err


@pytest.mark.parametrize("command", ["jobs", "trials", "best", "export", "ui"])
def test_a_folder_with_no_jobs_is_said_and_not_made(command: str, product: Product) -> None:
    ended = product.run(command, "--home", "nowhere", code=2)
    assert ended.err.count("error: ") == 1
    assert "no job has run in" in ended.err
    assert not (product.folder / "nowhere").exists()


def test_export_writes_the_same_bundle_elsewhere_and_never_over_anything(
    product: Product, finished: Path, undisturbed: tuple[Record, Any]
) -> None:
    first = Path(undisturbed[1]["bundle"])
    spec = product.write_spec(SMALL)
    answer = ask(product, finished, "export", "--to", "a folder/bundle")
    to = product.folder / "a folder" / "bundle"
    assert answer == {"job_id": undisturbed[1]["job_id"], "bundle": str(to)}
    for name in ("checkpoint.ckpt", "metrics.json", "lineage.json"):
        assert (to / name).read_bytes() == (first / name).read_bytes()
    refused = product.run("export", "--home", finished, "--to", to, code=2)
    assert f"{to} exists: choose another with --to" in refused.err
    refused = product.run("export", "--home", finished, "--to", spec, code=2)
    assert "choose another with --to" in refused.err
    assert spec.read_text()


def test_plan_says_what_the_job_then_does(product: Product, undisturbed: tuple[Record, Any]) -> None:
    spec = product.write_spec(SMALL)
    plan = product.run("plan", spec, "--json").json
    stages = undisturbed[0].rows("SELECT number, name, opens, why FROM stages ORDER BY number")
    assert [(s["number"], s["name"], s["opens"], s["why"]) for s in plan["stages"]] == [
        (number, name, json.loads(opens), why) for number, name, opens, why in stages
    ]
    assert undisturbed[1]["num_epochs"] <= plan["budget_epochs"] == SMALL["budget"]["epochs"]
    assert plan["estimate"]["total_s"] > 0
    text = product.run("plan", spec).out
    for stage in plan["stages"]:
        assert stage["name"] in text
    assert not (product.folder / ".tuneladder").exists()


def test_spaces_lists_every_family_with_ranges_and_reasons(product: Product) -> None:
    spaces = product.run("spaces", "--json").json
    assert set(spaces) == {"mlp", "cnn", "rnn"}
    text = product.run("spaces", "mlp").out
    assert "lr" in text
    assert "mlp, cnn, rnn" in product.run("spaces", "mpl", code=2).err


def test_a_reader_that_leaves_early_is_no_error(product: Product, finished: Path) -> None:
    """`tuneladder trials | head -1`"""
    for command in (["trials", "--home", str(finished)], ["spaces"], ["plan", str(product.write_spec(SMALL))]):
        process = subprocess.Popen([COMMAND, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read().decode()
        process.stderr.close()
        assert "Traceback" not in err
        assert "Error" not in err
        process.wait()


@pytest.mark.long
def test_a_home_may_have_spaces_and_a_long_path(product: Product) -> None:
    """Ray's sockets have paths of at most 107 bytes: the home must not be a part of them."""
    home = product.folder / "a home with spaces" / ("long" * 30)
    spec = product.write_spec(SMALL | {"budget": {"epochs": 8, "max_epochs_per_trial": 2}})
    other = product.folder / "elsewhere"
    other.mkdir()
    ended = product.run("run", os.path.relpath(spec, other), "--home", home, "--slots", "1", "--json", cwd=other)
    assert ended.json["state"] == "completed"
    assert list(other.iterdir()) == []
    text = product.run("best", "--home", home).out
    assert f"--home '{home}'" in text
    ended.assert_nothing_runs()


@pytest.mark.long
def test_a_gpu_that_no_node_has_is_refused_before_anything_is_made(product: Product) -> None:
    spec = product.write_spec(SMALL | {"resources": {"gpu": 0.5}})
    ended = product.run("run", spec, "--home", "home", "--num-gpus", "0", code=2)
    assert ended.err.count("error: ") == 1
    assert "resources.gpu: " in ended.err
    assert "asked for gpu=0.5, the largest node has 0 GPUs: lower resources.gpu" in ended.err
    assert not (product.folder / "home").exists()
    ended.assert_nothing_runs()


@pytest.mark.long
def test_a_gpu_that_is_only_promised_is_said(product: Product) -> None:
    """`--num-gpus` claims one where torch finds none: every trial fails, and the job says why."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    spec = product.write_spec(SMALL | {"resources": {"gpu": 0.5}})
    ended = product.run("run", spec, "--home", "home", "--num-gpus", "1", "--slots", "2", code=1)
    assert ended.err.count("error: ") == 1
    assert "CUDA" in ended.err
    assert "Traceback" not in ended.err
    ended.assert_nothing_runs()
