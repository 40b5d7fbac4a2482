"""The home folder: where everything of an embedded tuneladder lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """Paths below a home folder; nothing is made by asking for one."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.expanduser().absolute())

    @property
    def store_file(self) -> Path:
        """The record of all jobs."""
        return self.folder / "tuneladder.db"

    @property
    def bundles(self) -> Path:
        """Exported bundles, a folder for each job."""
        return self.folder / "bundles"

    @property
    def ray(self) -> Path:
        """Ray Tune's own records; nothing of it is needed after a job."""
        return self.folder / "ray"

    def store_url(self) -> str:
        """Name the record's database."""
        return f"sqlite:///{self.store_file}"
