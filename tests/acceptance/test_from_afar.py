"""A job handed to a server, from another folder: it ends as one that is run here."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from product import Product, Record, Started, wait_until

pytestmark = pytest.mark.slow  # a whole service: API, worker, MLflow, and a process for each job


@pytest.fixture
def service(product: Product) -> Started:
    """The service on a home of its own, which ends with the test; its first token is in the profile file."""
    product.environment |= {
        "TUNELADDER_PROFILE_FILE": str(product.folder / "profiles.toml"),
        "TUNELADDER_ENGINE": "local",
        "TUNELADDER_POLL_S": "0.1",
    }
    started = product.start("up", "--home", "home")
    wait_until(lambda: "profiles.toml" in started.out + started.err, what="the service is up", process=started)
    return started


def test_a_job_from_afar_is_watched_interrupted_and_fetched(
    product: Product, service: Started, undisturbed: tuple[Record, Any]
) -> None:
    spec, expected = product.write_spec(SMALL), undisturbed[1]
    away = product.folder / "elsewhere"
    away.mkdir()

    watching = product.start("submit", spec, "--watch", cwd=away)
    wait_until(lambda: "stage 0" in watching.err, what="the first stage has ended", process=watching)
    watching.popen.send_signal(signal.SIGINT)
    assert watching.wait() == 130
    said = re.search(r"the job goes on; tuneladder watch (\w+) follows it again", watching.err)
    assert said
    job = said[1]

    assert product.run("pause", job, "--json", cwd=away).json["wish"] in ("pause", None)
    wait_until(
        lambda: product.run("show", job, "--json", cwd=away).json["state"] in ("paused", "completed"),
        what="the job is paused",
    )
    if product.run("show", job, "--json", cwd=away).json["state"] == "paused":
        product.run("resume", job, cwd=away)
    ended = product.run("watch", job, "--json", cwd=away).json
    for part in ("state", "num_trials", "num_epochs", "best", "test", "importances"):
        assert ended[part] == expected[part]

    trials = product.run("trials", job, "--json", cwd=away).json
    assert trials == product.run("trials", "--json", "--home", undisturbed[0].home).json
    fetched = Path(product.run("export", job, "--to", "winner", "--json", cwd=away).json["bundle"])
    assert fetched == away / "winner"
    for name in ("checkpoint.ckpt", "metrics.json"):
        assert (fetched / name).read_bytes() == (Path(expected["bundle"]) / name).read_bytes()
    again = product.run("export", job, "--to", "winner", cwd=away, code=2)
    assert "choose another with --to" in again.err
