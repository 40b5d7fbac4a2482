"""Whoever starts a stack may use it at once, and a secret is made only where none works."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

from service.stack.access import grant_access, withdraw_default
from service.store import Role, Store, sqlite_url

URL = "http://127.0.0.1:8400"


def test_the_first_start_makes_a_token_and_later_ones_keep_it(tmp_path: Path, profile_file: Path) -> None:
    url = sqlite_url(tmp_path / "store.db")
    first = grant_access(url, URL)
    assert first.new_secret is not None
    assert (first.file, first.is_default, first.warning) == (profile_file, True, None)
    assert stat.S_IMODE(profile_file.stat().st_mode) == 0o600
    body = tomllib.loads(profile_file.read_text())
    assert body == {"default": "local", "local": {"url": URL, "token": first.new_secret}}
    with Store.open(url) as store:
        found = store.authenticate(first.new_secret)
    assert found is not None
    assert (found.owner, found.role) == ("local", Role.ADMIN)

    assert grant_access(url, URL).new_secret is None
    moved = grant_access(url, "http://127.0.0.1:8401")
    assert moved.new_secret is None
    local = tomllib.loads(profile_file.read_text())["local"]
    assert local == {"url": "http://127.0.0.1:8401", "token": first.new_secret}


def test_a_token_that_the_store_does_not_know_is_replaced_and_the_lost_one_is_revoked(
    tmp_path: Path, profile_file: Path
) -> None:
    url = sqlite_url(tmp_path / "store.db")
    lost = grant_access(url, URL).new_secret
    profile_file.unlink()
    new = grant_access(url, URL).new_secret
    assert lost is not None
    assert new is not None
    with Store.open(url) as store:
        assert store.authenticate(lost) is None
        assert store.authenticate(new) is not None


def test_other_profiles_and_their_default_stay(tmp_path: Path, profile_file: Path) -> None:
    profile_file.parent.mkdir()
    profile_file.write_text('default = "lab"\n[lab]\nurl = "https://lab.example.org"\n')
    access = grant_access(sqlite_url(tmp_path / "store.db"), URL)
    assert not access.is_default
    body = tomllib.loads(profile_file.read_text())
    assert body["default"] == "lab"
    assert body["lab"] == {"url": "https://lab.example.org"}


def test_a_stack_that_is_down_is_no_default_until_it_is_up_again(tmp_path: Path, profile_file: Path) -> None:
    url = sqlite_url(tmp_path / "store.db")
    first = grant_access(url, URL)
    withdraw_default()
    assert tomllib.loads(profile_file.read_text()) == {"local": {"url": URL, "token": first.new_secret}}
    again = grant_access(url, URL)
    assert (again.is_default, again.new_secret) == (True, None)


def test_a_default_that_a_person_chose_stays_when_the_stack_goes_down(tmp_path: Path, profile_file: Path) -> None:
    profile_file.parent.mkdir()
    profile_file.write_text('default = "lab"\n[lab]\nurl = "https://lab.example.org"\n')
    grant_access(sqlite_url(tmp_path / "store.db"), URL)
    withdraw_default()
    assert tomllib.loads(profile_file.read_text())["default"] == "lab"
