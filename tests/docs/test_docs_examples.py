"""Code in the documents works: specs validate, Python runs."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_pages import ROOT, Block, blocks

from service.documents import load_spec

SMALLEST: dict[str, Any] = {"family": "mlp", "data": {"name": "digits"}}
pytestmark = pytest.mark.xdist_group("documents")  # the jobs of `example_folder` run once
RUN = [block for block in blocks("python") if block.file_name is None]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_a_spec_in_a_document_is_valid(block: Block, tmp_path: Path) -> None:
    """A fragment is completed by the smallest spec."""
    said = yaml.safe_load(block.text)
    missing = {key: value for key, value in SMALLEST.items() if key not in said}
    path = tmp_path / "spec.yaml"
    path.write_text(block.text + (yaml.safe_dump(missing) if missing else ""), encoding="utf-8")
    assert load_spec(path).model_fields_set == said.keys() | missing.keys()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_a_valid_spec(path: Path) -> None:
    assert load_spec(path).name == path.stem.replace("_", "-")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_in_a_document_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", RUN, ids=str)
def test_python_in_a_document_runs(block: Block, example_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example_folder)
    names: dict[str, Any] = {"__name__": "__example__"}
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(block.text, str(block), "exec"), names)
    assert out.getvalue().strip()


def test_the_readme_and_the_page_on_own_modules_have_code_that_runs() -> None:
    assert [block.page.name for block in RUN].count("README.md") >= 2
    assert [block.page.name for block in RUN].count("own_modules.md") >= 2


def test_the_bundle_of_the_readme_reads_digits(example_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example_folder)
    block = next(block for block in RUN if block.page.name == "README.md" and "load_bundle" in block.text)
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()):
        exec(compile(block.text, str(block), "exec"), names)
    predicted = names["bundle"].predict(names["load_digits"]().images)
    assert (predicted == names["load_digits"]().target.astype(str)).mean() > 0.8


def test_the_example_module_learns_more_than_the_mean(example_folder: Path) -> None:
    """The mean of spending is 0: predicting it errs by the mean of its size, about 0.5."""
    metrics = json.loads((example_folder / "spending-bundle/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["test_mae"] < 0.3
