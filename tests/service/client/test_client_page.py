"""The examples of docs/client.md do what the page says, against a server process."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
import yaml
from server_process import SPEC, Served, Worker

from service.client import Profile, Profiles

PAGE = Path(__file__).parents[3] / "docs" / "client.md"


def example(name: str) -> str:
    match = re.search(
        rf"^```python\n# {re.escape(name)}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert match
    return match[1]


def test_from_spec_to_bundle(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNELADDER_PROFILE_FILE", str(tmp_path / "profiles.toml"))
    Profiles.read().with_profile("lab", Profile(url=served.url, token=served.token("page"))).write()
    Path("spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    client = served.client("page")
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for job in client.jobs(state="queued"):
                Worker(served, job.id).go()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        exec(compile(example("nightly.py"), "nightly.py", "exec"), {})
    finally:
        over.set()
        worker.join()
    assert capsys.readouterr().out == "{'lr': 1.5} 0.9 {'test_accuracy': 0.875}\n"
    assert (tmp_path / "winner" / "bundle.json").exists()


def test_following_a_job(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    job = served.client().submit(SPEC | {"name": "followed"}, priority=990)
    Worker(served, job.id).go()
    text = example("follow.py").replace("https://tuning.example.org", served.url)
    text = text.replace("tl_...", served.token()).replace("0hawctzcs25ad", job.id)
    exec(compile(text, "follow.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "queued None"
    assert "{0: 0.78, 1: 0.88}" in lines
    assert lines[-1] == "completed None"
