"""The pages that are written from code are up to date, and complete."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from types import ModuleType

import pytest
from markdown_pages import ROOT
from pydantic import BaseModel

from lightning_modules.families import FAMILIES
from lightning_modules.recipe import Recipe
from search_spaces import PRIORITIES, SPACES
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


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
