from __future__ import annotations

from pathlib import Path

import pytest

from service.stack.record import StackFile


@pytest.fixture
def file(tmp_path: Path) -> StackFile:
    """The record of a home that is there."""
    (tmp_path / "home").mkdir()
    return StackFile(tmp_path / "home")


@pytest.fixture(autouse=True)
def profile_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile file of the test's own."""
    path = tmp_path / "person" / "profiles.toml"
    monkeypatch.setenv("TUNELADDER_PROFILE_FILE", str(path))
    return path
