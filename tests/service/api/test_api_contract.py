"""The server keeps what its OpenAPI document promises: requests are drawn from it, right and wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from api_parts import People, finished_job

from service.api.openapi import operations
from service.store import Store

# Rules that go beyond what a schema can say: a request may fit its schema and still be refused with 422.
# A token revoked by chance would be the one that asks, and each plan is a process of several seconds.
CONFIG = """
[[operations]]
include-operation-id = ["submit_job", "list_jobs", "create_token", "list_trials", "list_audit"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"""
LEFT_OUT = ("make_plan", "revoke_token")
FIXED = """
[parameters]
job_id = "{job_id}"
export_id = {export_id}
number = 0
"""


# Two minutes each, and the same requests: every other test of the API runs on both databases.
ONE_DATABASE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def run(url: str, headers: dict[str, str], folder: Path, config: str, *, phases: str, num_examples: int) -> str:
    """Run schemathesis with all its checks; gives what it says."""
    (folder / "schemathesis.toml").write_text(config)
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "run", f"{url}/openapi.json", "--header", f"Authorization: {headers['Authorization']}",
        "--seed", "20", "--max-examples", str(num_examples), "--phases", phases, "--checks", "all",
        "--generation-deterministic", "--no-color", "--continue-on-failure",
        *(part for name in LEFT_OUT for part in ("--exclude-operation-id", name)),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "CI": "1"}
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def num_tested(output: str) -> tuple[int, int]:
    """Read how many operations were tested, and with how many requests."""
    operations_tested = re.search(r"Tested: +(\d+)", output)
    cases = re.search(r"(\d+) generated", output)
    assert operations_tested, output
    assert cases, output
    return int(operations_tested[1]), int(cases[1])


def num_operations(url: str) -> int:
    import httpx

    return len(list(operations(httpx.get(f"{url}/openapi.json").json())))


@ONE_DATABASE
@pytest.mark.slow
def test_whatever_an_administrator_sends_the_document_holds(
    url: str, store: Store, people: People, home: Path, tmp_path: Path
) -> None:
    finished_job(store, home, owner="root")
    output = run(
        url, people.headers("root"), tmp_path, CONFIG, phases="examples,coverage,fuzzing,stateful", num_examples=10
    )
    tested, cases = num_tested(output)
    assert tested == num_operations(url) - len(LEFT_OUT)
    assert cases > 1000
    assert "401/403" not in output


@ONE_DATABASE
@pytest.mark.slow
def test_whatever_is_asked_about_a_job_the_document_holds(
    url: str, store: Store, people: People, home: Path, tmp_path: Path
) -> None:
    """Requests about a job that is there, by its owner: answers are whole jobs, trials and bundles."""
    job = finished_job(store, home)
    config = CONFIG + FIXED.format(job_id=job.id, export_id=store.exports(job.id)[0].id)
    output = run(url, people.headers("ann"), tmp_path, config, phases="coverage,fuzzing", num_examples=15)
    assert num_tested(output)[0] == num_operations(url) - len(LEFT_OUT)
