"""A folder in which the documents' examples run: small jobs have run there, with their bundles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_pages import ROOT, blocks

from service.documents import load_spec, parse_spec
from service.embedded import run_job
from service.exports import export_again
from service.home import Home
from service.seats import RunOptions
from service.store import Store


@pytest.fixture(autouse=True)
def examples_find_their_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_DATA", str(ROOT / "data"))


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a reader has after following the README and docs/own_modules.md, on a smaller budget."""
    folder = tmp_path_factory.mktemp("reader")
    for block in blocks("python", "yaml", page="own_modules.md"):
        if block.file_name:
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
    path_before = [*sys.path]
    sys.path.insert(0, str(folder))
    digits = parse_spec(
        {"family": "mlp", "data": {"name": "digits"}, "budget": {"epochs": 12, "max_epochs_per_trial": 3}}
    )
    for spec, name in ((digits, "digits-bundle"), (load_spec(folder / "shop.yaml"), "spending-bundle")):
        home = folder / ".tuneladder"
        job = run_job(spec, home=home, options=RunOptions(engine="local"))
        with Store.open(Home(home).store_url()) as store:
            export_again(store, job, home=home, to=folder / name)
    yield folder
    sys.path[:] = path_before
