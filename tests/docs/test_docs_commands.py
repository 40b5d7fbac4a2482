"""Command lines in the documents parse, and the page of the command line says what `--help` says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from markdown_pages import ROOT, Block, blocks, commands

from service.cli.app import app

GROUP: Any = typer.main.get_command(app)


def commands_of(group: Any, *before: str) -> dict[str, Any]:
    """List commands by the words that call them; those of a group follow its name."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found |= commands_of(command, *words) if hasattr(command, "commands") else {" ".join(words): command}
    return found


COMMANDS = commands_of(GROUP)
LINES = list(commands("tuneladder"))
PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def parse(words: list[str]) -> dict[str, Any]:
    """Parse a command line as the command would, without running it."""
    with GROUP.make_context("tuneladder", list(words), resilient_parsing=True) as context:
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
        assert name is not None, f"no command {words[0]!r}"
        rest = words[len(name.split()) :]
        return dict(COMMANDS[name].make_context(name, list(rest), parent=context).params)


@pytest.mark.parametrize(
    ("block", "words"),
    LINES,
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_a_command_line_in_a_document_parses(block: Block, words: list[str]) -> None:
    params = parse(words)
    spec = params.get("spec")
    if spec is not None:
        names = {other.file_name for other in blocks("yaml", page=block.page.name)}
        assert (ROOT / spec).exists() or spec.name in names, f"{spec} is no file of the project or the page"


def test_a_command_line_with_an_unknown_option_does_not_parse() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["run", "examples/digits_mlp.yaml", "--speed"])


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for block, words in LINES if block.page.name == "README.md"}
    assert shown == set(GROUP.commands)


def test_commands_within_sentences_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(r"`tuneladder ([a-z]+)", page.read_text(encoding="utf-8")):
            assert name in GROUP.commands, f"{page.name}: tuneladder {name}"


def sections() -> dict[str, str]:
    """Split docs/cli.md at its headings: command name -> text."""
    parts = re.split(r"^## `tuneladder ?((?:[a-z]+ ?)*).*`$", PAGE, flags=re.MULTILINE)
    return dict(zip(map(str.strip, parts[1::2]), parts[2::2], strict=True))


def test_the_page_has_a_section_for_each_command() -> None:
    assert set(sections()) == {"", *COMMANDS}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_section_lists_the_options_of_its_command_and_no_others(name: str) -> None:
    command = COMMANDS[name] if name else GROUP
    real = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    rows = re.findall(r"^\| (`-.+?) \|", sections()[name], re.MULTILINE)
    said = {option for row in rows for option in re.findall(r"`(-.+?)`", row)} - {"--help"}
    assert said == real


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_section_says_the_true_defaults(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.default, bool | None) or not parameter.opts[0].startswith("-"):
            continue
        row = next(line for line in sections()[name].splitlines() if line.startswith(f"| `{parameter.opts[0]}`"))
        assert f"`{parameter.default}`" in row.split("|")[2]


def test_the_page_says_every_exit_code() -> None:
    from service import errors

    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    codes = {0, 130, *(kind.exit_code for kind in classes)}
    table = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


def test_specs_that_documents_name_are_in_the_examples() -> None:
    named = set(re.findall(r"examples/\w+\.yaml", (ROOT / "README.md").read_text(encoding="utf-8") + PAGE))
    assert named
    assert all(Path(ROOT / name).exists() for name in named)
