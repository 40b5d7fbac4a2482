"""What a person sees of options and tables."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.jobs import _trials_table
from service.errors import InvalidSpecError
from service.seats import RunOptions

PARAMS = {"lr": 0.0123456, "batch_size": 128, "optimizer": "nesterov", "activation": "leaky_relu"}


def record(**changes: Any) -> dict[str, Any]:
    one = {"number": 3, "stage": 0, "round": 1, "params": PARAMS, "state": "completed", "epochs": 24}
    return {**one, "metrics": {"val_accuracy": 0.98765, "lr": 0.001}, "message": None, **changes}


def shown(width: int, *records: dict[str, Any]) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(_trials_table(records, metric="val_accuracy", stages={0: "weight_decay"}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_shortens_nothing_of_a_trial(width: int) -> None:
    text = shown(width, record())
    assert "…" not in text
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if "params" in line)
    start = lines[head].index("params")
    params = "".join(line[start:].strip() for line in lines[head + 1 :])
    assert params.replace(" ", "") == "lr=0.01235,batch_size=128,optimizer=nesterov,activation=leaky_relu"
    assert "weight_d" in text
    assert "0.9877" in text


def test_a_trial_that_failed_shows_why_in_the_place_of_its_params() -> None:
    assert "RuntimeError: no" in shown(120, record(message="RuntimeError: no", metrics={}))


def test_a_usage_line_names_an_optional_argument_in_one_pair_of_brackets() -> None:
    for name, argument in (("trials", "JOB"), ("best", "JOB"), ("export", "JOB"), ("spaces", "FAMILY")):
        usage = CliRunner().invoke(app, [name, "--help"]).output.splitlines()[0]
        assert re.search(rf" \[OPTIONS\] \[{argument}\]$", usage), usage


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_slots": 2}, "--slots 2"),
        ({"address": "10.0.0.5:6379", "num_gpus": 0}, "--address 10.0.0.5:6379, --num-gpus 0"),
    ],
)
def test_options_of_ray_are_refused_where_this_process_trains(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=rf"got --engine local with {said}: leave them out") as error:
        RunOptions(engine="local", **options)
    assert error.value.exit_code == 2
    assert RunOptions(engine="ray", **options)


def test_those_options_have_the_names_that_the_message_gives_them() -> None:
    group: Any = typer.main.get_command(app)
    names = {option for parameter in group.commands["run"].params for option in parameter.opts}
    assert {"--slots", "--address", "--num-gpus", "--engine"} <= names
