"""Building blocks by name: what a config's text stands for, and the facts that its documentation page shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Generic, TypeVar

from lightning_modules.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[T]):
    """One named building block.

    `factory` makes it; its arguments are those that the registry's own module documents.
    """

    name: str
    factory: Callable[..., T]
    formula: str
    range: str  # of the output, or the shapes: what a reader may expect to come out
    used_for: str
    source: str
    where: str = ""  # family and setting, where that is no config field which takes the name


class Registry(Mapping[str, Entry[T]]):
    """Entries of one kind in the order of their documentation, docs/building_blocks.md.

    Args:
        field: The config field whose values these names are, such as `activation`.
        entries: The entries; names must differ.
        title: Heading of its section; default is the field's name.
        about: What helps to choose among the entries.
    """

    def __init__(self, field: str, entries: Iterable[Entry[T]], *, title: str = "", about: str = "") -> None:
        self.field = field
        self.title = title or field.replace("_", " ").capitalize()
        self.about = about
        self._entries: dict[str, Entry[T]] = {}
        for entry in entries:
            assert entry.name not in self._entries, f"{field} {entry.name!r} is registered twice"
            self._entries[entry.name] = entry

    def __getitem__(self, name: str) -> Entry[T]:
        try:
            return self._entries[name]
        except KeyError:
            raise ConfigError(unknown_name(name, self._entries), field=self.field) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def unknown_name(name: object, known: Iterable[str]) -> str:
    """Word the complaint about a name that is not among the known ones, with the nearest of them."""
    names = list(known)
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]!r}?" if near else "take one of them"
    return f"must be one of {', '.join(names)}, got {name!r}: {remedy}"
