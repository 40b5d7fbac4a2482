"""An engine on a cluster of several nodes: nodes come and go, the job stays."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.long
def test_legs_of_a_lost_node_are_trained_on_another_one(tmp_path: Path) -> None:
    """Ray reads its token when it is imported, and this process has a Ray already: the cluster has its own."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    ended = subprocess.run(
        [sys.executable, HERE / "nodes.py", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "answers").read_text().splitlines() == [
        "desk on the driver's node: True",
        "leg-0 attempt 2 running running",
        "leg-1 attempt 2 running running",
    ]
