"""Home folders: one that cannot be written is refused, one that knows the job answers for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import Command
from mistakes import GOOD, assert_one_message


@pytest.mark.parametrize("home", ["file", "file/home", "/proc/home"])
def test_a_home_that_cannot_be_written_is_refused(home: str, tuneladder: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(GOOD))
    answer = tuneladder("run", "spec.yaml", "--home", home, "--engine", "local")
    assert answer.code == 2
    assert_one_message(answer.err, r"the folder of a store must exist or be made, .*: choose another home")


def test_a_finished_job_answers_again_and_says_so(tuneladder: Command, tmp_path: Path) -> None:
    spec = GOOD | {"budget": {"epochs": 8, "max_epochs_per_trial": 2}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    first, second = (tuneladder("run", "spec.yaml", "--engine", "local") for _ in range(2))
    assert first.code == second.code == 0
    assert second.out.splitlines()[0] == "this job had finished before; --new runs it again"
    assert second.out.splitlines()[1:] == first.out.splitlines()
    assert second.err == ""
    assert (tmp_path / ".tuneladder").is_dir()


def test_quiet_says_nothing_but_the_result(tuneladder: Command, tmp_path: Path) -> None:
    spec = GOOD | {"budget": {"epochs": 8, "max_epochs_per_trial": 2}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    answer = tuneladder("run", "spec.yaml", "--engine", "local", "--quiet")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out.startswith("job ")


def test_new_makes_another_job_with_the_same_result(tuneladder: Command, tmp_path: Path) -> None:
    spec = GOOD | {
        "search": {"rungs": {"min_epochs": 1, "reduction_factor": 2}, "candidates": 3},
        "budget": {"epochs": 8, "max_epochs_per_trial": 2},
        "early_stopping": {"patience": 2},
        "resources": {"cohort_size": 2},
        "seed": 3,
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))

    def ask(*arguments: str) -> Any:
        answer = tuneladder(*arguments, "--home", "home", "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out.splitlines()[-1])

    first = ask("run", "spec.yaml", "--engine", "local")
    second = ask("run", "spec.yaml", "--engine", "local", "--new")
    assert first["job_id"] != second["job_id"]
    assert first["best"] == second["best"]
    assert first["test"] == second["test"]
    listed = ask("jobs")
    assert [job["job_id"] for job in listed] == [second["job_id"], first["job_id"]]
    assert Path(first["bundle"]).is_dir()
    assert first["bundle"] != second["bundle"]
