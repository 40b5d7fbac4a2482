"""The page of the client says what the client has."""

from __future__ import annotations

import re

from markdown_pages import ROOT, blocks
from pydantic import BaseModel

import service.client
from service.client import ApiError, Client, Event, NotTuneladderError, ServerUnreachableError

PAGE = (ROOT / "docs/client.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page_lists_every_method_with_arguments_that_it_has() -> None:
    import inspect

    public = {name for name in vars(Client) if not name.startswith("_")} - {"close", "url"}
    calls = re.findall(r"`(\w+)\(([^)]*)\)`", section("Methods"))
    assert {name for name, _ in calls} == public
    for name, arguments in calls:
        real = inspect.signature(getattr(Client, name)).parameters
        said = {word.strip().removesuffix("=") for word in arguments.split(",") if word.strip()}
        assert said <= real.keys(), name


def test_the_page_lists_every_event_with_the_fields_that_it_has() -> None:
    rows = dict(re.findall(r"^\| `(\w+Event)` \| (.*) \|$", section("Following a job"), re.MULTILINE))
    kinds = {kind.__name__: kind for kind in Event.__subclasses__()}
    assert rows.keys() == kinds.keys()
    for name, text in rows.items():
        data = kinds[name].model_fields["data"].annotation
        if isinstance(data, type) and issubclass(data, BaseModel):
            said = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", text))
            assert set(said) == set(data.model_fields), name


def test_the_page_lists_every_error() -> None:
    said = set(re.findall(r"^\| `(\w+)` \|", section("Errors"), re.MULTILINE))
    kinds = {*ApiError.__subclasses__(), NotTuneladderError, ServerUnreachableError}
    assert said == {kind.__name__ for kind in kinds}


def test_what_examples_import_is_there() -> None:
    names = {
        name.strip()
        for block in blocks("python", page="client.md")
        for line in re.findall(r"from service\.client import (.*)", block.text)
        for name in line.split(",")
    }
    assert names
    assert names <= set(service.client.__all__)
