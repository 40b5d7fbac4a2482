"""Mistakes in specs and data, and what a person must be told of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from in_process import Command

GOOD: dict[str, Any] = {
    "name": "good",
    "family": "mlp",
    "data": {"name": "wine"},
    "budget": {"epochs": 40, "max_epochs_per_trial": 4},
}


def replaced(**sections: Any) -> dict[str, Any]:
    """The good spec with other sections."""
    return GOOD | sections


def nothing(folder: Path) -> None:
    """No file is needed."""


@dataclass(frozen=True)
class Case:
    """A mistake, and the message that it must lead to."""

    name: str
    message: str  # a pattern: field, rule, value and remedy, in this order
    spec: Any = field(default_factory=lambda: GOOD)
    prepare: Callable[[Path], object] = nothing  # writes files into a folder


def check(case: Case, tuneladder: Command, folder: Path, command: str = "run") -> None:
    """The mistake ends with exit code 2 and one message, and nothing is left behind."""
    case.prepare(folder)
    text = case.spec if isinstance(case.spec, str) else yaml.safe_dump(case.spec)
    (folder / "spec.yaml").write_text(text)
    before = sorted(folder.rglob("*"))

    options = ["--home", "home", "--engine", "local"] if command == "run" else []
    answer = tuneladder(command, "spec.yaml", *options)

    assert answer.code == 2
    assert answer.out == ""
    assert_one_message(answer.err, case.message)
    left = [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts]
    assert left == before


def assert_one_message(err: str, pattern: str) -> None:
    """One line is the error; the others say what went on before."""
    messages = [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, err
    assert re.search(pattern, messages[0]), messages[0]
    others = [line for line in err.splitlines() if not line.startswith("error: ")]
    assert all(line.endswith(" ...") for line in others), err
