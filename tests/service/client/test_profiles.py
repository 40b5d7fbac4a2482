"""The profile file: written for its owner alone, read without guessing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import Profile, Profiles, profile_file
from service.client.connection import find_server
from service.errors import InvalidSpecError, NotFoundError

LAB = Profile(url="https://lab.example", token="tl_" + "s" * 43)
HOME = Profile(url="http://localhost:8400")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "profiles.toml"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_again_and_only_its_owner_can(path: Path) -> None:
    Profiles.read(path).with_profile("lab", LAB).with_profile("home", HOME).write()
    found = Profiles.read(path)
    assert found.by_name == {"lab": LAB, "home": HOME}
    assert found.default == "lab"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [file.name for file in path.parent.iterdir()] == ["profiles.toml"]
    assert found.warning() is None


def test_a_file_that_others_can_read_is_warned_of_and_mended_by_the_next_change(path: Path) -> None:
    profiles = Profiles.read(path).with_profile("lab", LAB)
    profiles.write()
    path.chmod(0o644)
    assert profiles.warning() == f"{path} holds tokens and others can read it (mode 0644): chmod 600 {path}"
    profiles.write()
    assert mode(path) == 0o600
    without = Profiles(path=path, by_name={"home": HOME})
    path.chmod(0o644)
    assert without.warning() is None


def test_a_failed_change_leaves_the_file_as_it_was(path: Path) -> None:
    Profiles.read(path).with_profile("lab", LAB).write()
    broken = Profiles(path=path, by_name={"lab": Profile(url=object())})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        broken.write()
    assert Profiles.read(path).by_name == {"lab": LAB}
    assert [file.name for file in path.parent.iterdir()] == ["profiles.toml"]


def test_a_file_that_is_not_there_holds_nothing(path: Path) -> None:
    assert Profiles.read(path).by_name == {}
    with pytest.raises(
        NotFoundError, match=r"no profile has the name 'lab' \(there are: none\): `tuneladder profile"
    ):
        Profiles.read(path).get("lab")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lab", "readable TOML file"),
        ("lab = 3", "a table of url and token"),
        ("[lab]\ntoken = 'x'", "a table of url and token"),
        ("[lab]\nurl = 'http://x'\nuser = 'ada'", "a table of url and token"),
        ("[lab]\nurl = 3", "are texts"),
        ("[lab]\nurl = 'lab'", "begins with http"),
        ("default = 'lab'", "default profile must be in the file"),
        ("\xff", "readable TOML file"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is(path: Path, text: str, said: str) -> None:
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSpecError, match=said):
        Profiles.read(path)


@pytest.mark.parametrize("name", ["default", "", "a b", "a.b", "ä", "a\n"])
def test_a_name_that_toml_or_a_shell_could_misread_is_refused(path: Path, name: str) -> None:
    with pytest.raises(InvalidSpecError, match="a profile's name has letters"):
        Profiles.read(path).with_profile(name, HOME)


@given(
    names=st.lists(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True).filter(lambda n: n != "default"), unique=True),
    token=st.none() | st.from_regex(r"[!-~]{1,60}", fullmatch=True),
)
def test_any_profiles_come_back_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], token: str | None
) -> None:
    path = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    profiles = Profiles(path=path)
    for name in names:
        profiles = profiles.with_profile(name, Profile(url="https://lab.example:8400/x", token=token))
    profiles.write()
    assert Profiles.read(path) == profiles


def test_the_file_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("TUNELADDER_PROFILE_FILE", raising=False)
    assert profile_file() == tmp_path / "tuneladder" / "profiles.toml"
    monkeypatch.setenv("TUNELADDER_PROFILE_FILE", str(tmp_path / "mine.toml"))
    assert profile_file() == tmp_path / "mine.toml"


def test_a_token_is_in_no_repr() -> None:
    assert "ssss" not in repr(LAB) + repr(Profiles(path=Path("x"), by_name={"lab": LAB}))


SERVERS = Profiles(path=Path("unused"), by_name={"lab": LAB, "home": HOME}, default="home")


@pytest.mark.parametrize(
    ("given_", "environment", "url", "token"),
    [
        ({}, {}, HOME.url, None),
        ({}, {"TUNELADDER_TOKEN": "t"}, HOME.url, "t"),
        ({}, {"TUNELADDER_PROFILE": "lab"}, LAB.url, LAB.token),
        ({}, {"TUNELADDER_PROFILE": "lab", "TUNELADDER_TOKEN": "t"}, LAB.url, LAB.token),
        (
            {},
            {"TUNELADDER_URL": "http://e", "TUNELADDER_PROFILE": "lab", "TUNELADDER_TOKEN": "t"},
            "http://e",
            "t",
        ),
        ({"profile": "lab"}, {"TUNELADDER_URL": "http://e", "TUNELADDER_TOKEN": "t"}, LAB.url, LAB.token),
        ({"url": "http://o"}, {"TUNELADDER_URL": "http://e", "TUNELADDER_PROFILE": "lab"}, "http://o", None),
        ({"url": LAB.url}, {}, LAB.url, None),
    ],
)
def test_the_server_is_what_is_given_else_what_the_environment_says_else_the_default(
    given_: dict[str, str], environment: dict[str, str], url: str, token: str | None
) -> None:
    """A profile's token goes to that profile's server alone."""
    found = find_server(**given_, environment=environment, profiles=SERVERS)
    assert found == Profile(url=url, token=token)


def test_nothing_names_a_server_or_two_things_do() -> None:
    assert find_server(environment={}, profiles=Profiles(path=Path("unused"))) is None
    with pytest.raises(
        InvalidSpecError, match="one server is asked at a time, got --url http://x and --profile lab"
    ):
        find_server(url="http://x", profile="lab", environment={}, profiles=SERVERS)
    with pytest.raises(NotFoundError, match=r"no profile has the name 'la' \(there are: lab, home\)"):
        find_server(environment={"TUNELADDER_PROFILE": "la"}, profiles=SERVERS)
