"""The project's pages, and what stands in them: code blocks, links, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    number: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The file that a block says it is, by a comment on its first line."""
        match = re.match(r"# (\S+\.\w+)\n", self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.page.name}-{self.number}"


def blocks(*languages: str, page: str | None = None) -> list[Block]:
    """List the code blocks of the pages in these languages."""
    return [
        Block(path, number, match[1], match[2])
        for path in PAGES
        if page is None or path.name == page
        for number, match in enumerate(_FENCE.finditer(path.read_text(encoding="utf-8")))
        if match[1] in languages
    ]


def links(page: Path) -> list[str]:
    """List where a page's links lead; code is left out."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """List the names by which a page's headings can be linked to, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def commands(program: str) -> Iterator[tuple[Block, list[str]]]:
    """List the command lines that call a program, from console blocks: arguments without the program."""
    for block in blocks("console"):
        for line in block.text.replace("\\\n", " ").splitlines():  # a backslash at its end: the line goes on
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and Path(words[0]).name == program:
                yield block, words[1:]
