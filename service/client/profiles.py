"""Profiles: servers by name, with their tokens, in one file of a person's own.

```toml
default = "lab"

[lab]
url = "https://tuning.example.org"
token = "tl_..."
```
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs
import tomli_w

from service.client.transport import check_token, check_url
from service.errors import InvalidSpecError, NotFoundError

FILE_VARIABLE = "TUNELADDER_PROFILE_FILE"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A server, and who one is there."""

    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """What a profile file holds. Changing it gives another one; `write` puts it into the file."""

    path: Path
    by_name: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None

    @classmethod
    def read(cls, path: Path | None = None) -> Profiles:
        """Read the file; one that is not there holds no profile.

        Args:
            path: The file; default: `profile_file()`.

        Raises:
            InvalidSpecError: It is not what `write` writes.
        """
        file = path or profile_file()
        try:
            body = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(path=file)
        except (OSError, ValueError) as error:
            raise InvalidSpecError(
                f"profiles are a readable TOML file, {file} is not ({error}): correct it"
            ) from None
        default = body.pop(_DEFAULT, None)
        found = {name: _read_profile(name, table, file) for name, table in body.items()}
        if default is not None and default not in found:
            raise InvalidSpecError(
                f"the default profile must be in the file, {file} has no {default!r}: correct it"
            )
        return cls(path=file, by_name=found, default=default)

    def get(self, name: str) -> Profile:
        """Find a profile.

        Raises:
            NotFoundError: There is none of this name.
        """
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none"
            raise NotFoundError(
                f"no profile has the name {name!r} (there are: {known}): `tuneladder profile set {name} --url "
                "URL` makes it"
            )
        return self.by_name[name]

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """Add a profile, or change it; the first one becomes the default.

        Raises:
            InvalidSpecError: The name is none.
        """
        if not _NAME.fullmatch(name) or name == _DEFAULT:
            raise InvalidSpecError(
                f"a profile's name has letters, digits, - and _ and is not {_DEFAULT!r}, got {name!r}: choose "
                "another"
            )
        return replace(self, by_name={**self.by_name, name: profile}, default=self.default or name)

    def with_default(self, name: str) -> Profiles:
        """Choose the profile that is used where none is named.

        Raises:
            NotFoundError: There is none of this name.
        """
        self.get(name)
        return replace(self, default=name)

    def write(self) -> None:
        """Write the file whole, readable by its owner alone."""
        body: dict[str, Any] = {_DEFAULT: self.default} if self.default else {}
        for name, profile in self.by_name.items():
            body[name] = {"url": profile.url} | ({"token": profile.token} if profile.token else {})
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, half = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # with mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                tomli_w.dump(body, file)
                file.flush()
                os.fsync(file.fileno())
            Path(half).replace(self.path)
        except BaseException:
            Path(half).unlink(missing_ok=True)
            raise

    def warning(self) -> str | None:
        """Say that others can read the tokens, where they can."""
        if os.name != "posix" or not self.path.exists():
            return None
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if not mode & 0o077 or not any(profile.token for profile in self.by_name.values()):
            return None
        return f"{self.path} holds tokens and others can read it (mode {mode:04o}): chmod 600 {self.path}"


def profile_file() -> Path:
    """Say where the file lies: TUNELADDER_PROFILE_FILE, or the platform's place for settings."""
    named = os.environ.get(FILE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_config_path("tuneladder") / "profiles.toml"


def _read_profile(name: str, table: object, file: Path) -> Profile:
    known = {"url", "token"}
    if not isinstance(table, Mapping) or "url" not in table or not table.keys() <= known:
        raise InvalidSpecError(f"a profile is a table of url and token, {name!r} in {file} is not: correct it")
    if not all(isinstance(value, str) for value in table.values()):
        raise InvalidSpecError(
            f"url and token of a profile are texts, those of {name!r} in {file} are not: correct it"
        )
    token = table.get("token")
    return Profile(url=check_url(table["url"]), token=check_token(token) if token else None)
