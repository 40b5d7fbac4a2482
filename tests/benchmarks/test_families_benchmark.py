"""The benchmark of the families trains every block, and its page shows the table that it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import families
from lightning_modules.blocks.conv_blocks import CONV_BLOCKS
from lightning_modules.blocks.recurrent import CELLS
from lightning_modules.data import BuiltinSource
from lightning_modules.families import split_settings
from search_spaces import get_space

PAGE = Path(__file__).parents[2] / "docs/families.md"


@pytest.fixture
def _small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits stand in for MNIST: the files need not be here."""
    monkeypatch.setitem(families.SOURCES, "mnist", lambda folder: BuiltinSource(name="digits"))  # type: ignore[arg-type]


def test_every_block_for_images_every_cell_and_three_dense_blocks_are_trained() -> None:
    kinds = families.kinds()
    assert {kind.block for kind in kinds if kind.family == "cnn"} == set(CONV_BLOCKS) - {"temporal"}
    recurrent = {(kind.block, kind.pooling) for kind in kinds if kind.family == "rnn"}
    assert {cell for cell, _ in recurrent} == set(CELLS)
    assert len(recurrent) == 2 * len(CELLS)
    assert [kind.block for kind in kinds if kind.family == "mlp"] == ["plain", "residual", "swiglu"]


@pytest.mark.parametrize("kind", families.kinds(), ids=lambda kind: kind.name)
def test_a_kind_is_its_familys_defaults_with_its_block(kind: families.Kind) -> None:
    values = families.settings_of(kind)
    changed = {name for name, value in get_space(kind.family).defaults().items() if values[name] != value}
    assert changed <= {"block", "cell", "pooling"} | set(kind.extra)
    split_settings(kind.family, values)


@pytest.mark.usefixtures("_small_data")
def test_rows_of_the_table_come_from_a_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{families.BEGIN}\nold\n{families.END}\nafter\n")
    families.main(["--only", "mlp,cnn", "--epochs", "1", "--rows", "200", "--write", str(page), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows: list[dict[str, Any]] = result["families"]
    assert len(rows) == len(CONV_BLOCKS) - 1 + 3
    assert set(result) == {"families", "machine", "versions", "date"}
    plain = next(row for row in rows if (row["family"], row["block"]) == ("mlp", "plain"))
    # 64 pixels, two layers of 128 whose bias is batch norm's (a gain and a shift each), ten classes.
    assert plain["parameters"] == 64 * 128 + 128 * 128 + 2 * 2 * 128 + 128 * 10 + 10
    for row in rows:
        assert 0.0 < row["accuracy"] <= 1.0
        assert row["epoch_s"] > 0.0
        assert row["epochs"] == 1
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert families.table(result) in text


def test_a_page_without_a_place_for_the_table_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="measured: begin"):
        families.write_table(page, {"families": [], "machine": "", "versions": {}, "date": ""})


def test_an_unknown_family_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        families.main(["--only", "gnn"])
    assert "--only names families out of cnn, rnn, mlp, got gnn" in capsys.readouterr().err


def test_the_page_has_a_row_for_each_kind() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for kind in families.kinds():
        pooling = f"`{kind.pooling}`" if kind.pooling else ""
        start = f"| {kind.family} | `{kind.block}` | {pooling} | {kind.data} |"
        assert any(line.startswith(start) for line in lines), f"{kind.name}: run the command on the page"
