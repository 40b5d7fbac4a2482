"""Documents as such: links lead somewhere, names are right, nothing belongs to one machine."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from markdown_pages import PAGES, ROOT, anchors, commands, links

EXPECTED = {
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "api.md",
    "architecture.md",
    "building_blocks.md",
    "cli.md",
    "client.md",
    "glossary.md",
    "own_modules.md",
    "search_spaces.md",
    "spec.md",
    "testing.md",
}
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_every_page_is_there() -> None:
    assert {page.name for page in PAGES} >= EXPECTED


@by_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target) if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_the_readme_leads_to_every_document() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md") if "://" not in link}
    assert {page.resolve() for page in PAGES} - linked <= {ROOT / "README.md"}


@by_page
def test_no_path_of_one_machine_stands_in_a_document(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.:/~-])/(?:home|root|tmp|work|usr|var|opt|mnt|Users)\b\S*", text)


def test_the_packages_that_the_readme_names_can_be_imported() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = re.search(r"The import packages are(.*?)\.\n", text, re.DOTALL)
    assert sentence
    packages = re.findall(r"`(\w+)`", sentence[1])
    assert packages == ["service", "search_spaces", "lightning_modules"]
    assert all(find_spec(package) for package in packages)
    assert metadata("tuneladder")["Name"] == text.splitlines()[0].removeprefix("# ")


def test_every_make_target_in_a_document_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {target for _, words in commands("make") for target in words}
    assert {"demo", "check", "test"} <= named <= targets


@pytest.mark.parametrize("page", ["architecture.md", "CONTRIBUTING.md", "own_modules.md", "testing.md"])
def test_every_file_of_the_project_that_a_page_names_exists(page: str) -> None:
    text = next(path for path in PAGES if path.name == page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:service|search_spaces|lightning_modules|tests|docs)/[\w/.]*)`", text)
    modules = re.findall(r"`((?:service|search_spaces|lightning_modules)(?:\.[a-z_]+)+)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [name for name in modules if not find_spec(name)]
    assert named or modules
    assert not missing


def test_the_architecture_names_every_room_of_the_house() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    house = text.partition("## The house")[2].partition("## Contracts")[0]
    rooms = {
        path.stem
        for path in (ROOT / "service").iterdir()
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
    }
    assert not {room for room in rooms if not re.search(rf"\b{room}\b", house)}


def test_the_glossary_knows_every_state() -> None:
    from service.store import JobState, StageState, TrialState

    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").partition("## States")[2]
    for of, states in (("a job", JobState), ("a stage", StageState), ("a trial", TrialState)):
        line = next(line for line in text.splitlines() if line.startswith(f"| {of} "))
        said = [
            re.sub(r" \(.*?\)", "", part).strip()
            for part in re.sub(r"\([^)]*\)", "", line.split("|")[2]).split(",")
        ]
        assert said == [str(state) for state in states]


def test_the_changelog_begins_with_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[0] == "Unreleased"
    kinds = set(re.findall(r"^### (\w+)", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
