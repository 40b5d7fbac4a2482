"""The pages that are written from code are up to date, and complete."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from markdown_pages import ROOT
from pydantic import BaseModel

from lightning_modules.config import Config
from lightning_modules.families import FAMILIES
from lightning_modules.recipe import Recipe
from lightning_modules.registry import Entry, Registry
from search_spaces import PRIORITIES, SPACES
from service.catalog import METRICS
from service.data_sections import (
    DataSection,
    IdxData,
    ImagesData,
    ModuleData,
    NamedData,
    NpzData,
    SeriesData,
    TableData,
    TextData,
)
from service.spec import ModuleFamily, Spec

DATA_SECTIONS = (NamedData, TableData, IdxData, ImagesData, TextData, NpzData, SeriesData, ModuleData)


def test_generated_pages_are_up_to_date(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python docs/generate.py"


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info.description


def all_fields() -> list[tuple[str, str | None]]:
    data = [field for section in DATA_SECTIONS for field in fields(section, "data.")]
    return [*fields(Spec), *fields(ModuleFamily, "family."), *data]


def test_every_field_of_the_spec_is_documented_with_what_it_is_for() -> None:
    page = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    for name, description in all_fields():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row, f"{name} is missing"
        assert description, f"{name} has no description"
        assert row.rstrip(" |").rpartition("| ")[2], f"{name} has an empty reason"


def test_every_kind_of_data_that_a_spec_knows_is_documented() -> None:
    assert set(DATA_SECTIONS) == set(DataSection.__args__)


def test_every_setting_of_every_family_is_documented() -> None:
    page = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    for name, family in FAMILIES.items():
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for field in dataclasses.fields(family.config):
            assert f"| `{field.name}` |" in section
    section = page.partition("### All families")[2].partition("\n### ")[0]
    assert all(f"| `{field.name}` |" in section for field in dataclasses.fields(Recipe))


def test_every_parameter_is_documented_with_range_default_reason_and_source() -> None:
    page = (ROOT / "docs/search_spaces.md").read_text(encoding="utf-8")
    for name, space in SPACES.items():
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for parameter in space:
            row = next(line for line in section.splitlines() if f"| `{parameter.name}` |" in line)
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert all(cells[i] for i in (2, 3, 5, 6)), row


def test_the_documented_order_stands_in_its_order() -> None:
    page = (ROOT / "docs/search_spaces.md").read_text(encoding="utf-8")
    places = [page.index(f"| {n} | `{p.name}` | {p.title} |") for n, p in enumerate(PRIORITIES, start=1)]
    assert places == sorted(places)


def block_sections() -> dict[str, list[list[str]]]:
    """Split docs/building_blocks.md at its headings: title -> the cells of its table's rows."""
    page = (ROOT / "docs/building_blocks.md").read_text(encoding="utf-8")
    sections = {}
    for part in page.split("\n## ")[1:]:
        rows = [line for line in part.splitlines() if line.startswith("| ")][2:]
        sections[part.splitlines()[0]] = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows
        ]
    return sections


def test_every_building_block_is_documented_in_full(generate: ModuleType) -> None:
    """Registries are found by looking for them, so a new one is on the page without a change to the generator."""
    documented = block_sections()
    sections = generate.building_blocks.sections()
    assert len(sections) >= 15
    for title, registries in sections.items():
        rows = {row[0]: row for row in documented[title]}
        assert list(rows) == [f"`{name}`" for registry in registries for name in registry]
        for name, row in rows.items():
            assert all(row), f"{title}: an empty cell of {name}"


def test_a_registry_in_any_module_is_found(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(name="x", factory=object, formula="x", range="x", used_for="x", source="x")
    new: Registry[object] = Registry("new_kind", [entry])
    monkeypatch.setattr("lightning_modules.seeding.NEW", new, raising=False)
    assert new in generate.building_blocks.registries()
    assert new.title == "New kind"
    assert "## New kind\n" in generate.blocks_page()


def test_registries_of_one_title_share_a_section(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the augmentations of each kind of data, which are switched on by settings of their own names."""
    for name in ("dropout2d", "clip_norm"):
        entry = Entry(name=name, factory=object, formula="x", range="x", used_for="x", source="x")
        monkeypatch.setattr(f"lightning_modules.seeding.{name}", Registry("new_kind", [entry]), raising=False)
    section = generate.blocks_page().partition("## New kind\n")[2].partition("\n## ")[0]
    assert "| `dropout2d` | `x` | x | x | `dropout2d`: cnn | x |" in section
    assert "| `clip_norm` | `x` | x | x | `clip_norm`: all families | x |" in section


@pytest.mark.parametrize("config", [Recipe, *(family.config for family in FAMILIES.values())])
def test_every_name_that_a_setting_takes_is_a_building_block(generate: ModuleType, config: type[Config]) -> None:
    """Where the norm stands is no block, `auto` chooses among blocks."""
    registries = generate.building_blocks.registries()
    for field in dataclasses.fields(config):
        if field.metadata["type"] == "choice" and field.name != "norm_position":
            names = set(field.metadata["options"]) - {"auto"}
            assert any(r.field == field.name and names <= set(r) for r in registries), field.name


def test_a_block_says_which_families_take_it_and_search_it(generate: ModuleType) -> None:
    blocks = generate.building_blocks
    norms, cells = blocks.find("norm", ("batch",)), blocks.find("cell", ())
    assert blocks.where(norms, "layer") == "`norm`: searched in mlp; also cnn, rnn"
    assert blocks.where(norms, "instance") == "`norm`: cnn"
    assert blocks.where(cells, "gru") == "`cell`: searched in rnn"
    assert blocks.where(blocks.find("loss", ()), "focal") == "`loss`: all families"
    assert blocks.where(blocks.find("block", ("swiglu",)), "plain") == "`block`: mlp"


def test_the_index_of_blocks_has_every_kind() -> None:
    """Each line is shown if what it names is there: none of those below may be missing."""
    ids = {row[0] for row in block_sections()["Index"]}
    built = "A1 A2 A3 A4 N1 N2 D1 D2 I1 L1 O1 S1 M1 C1 C2 R1 R2 R3 T1 G1 E1 E2 P1 P2 P3 P4"
    assert set(built.split()) == ids
    assert all(row[2] for row in block_sections()["Index"])


def test_every_metric_that_decides_is_described() -> None:
    logged = {name for names in METRICS.values() for name in names} - {"val_loss"}
    said = {row[0].strip("`") for row in block_sections()["Metrics"]}
    assert {name.removeprefix("val_") for name in logged} <= said
