"""Settings: read from the environment, and written for a child process."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import InvalidSettingsError
from service.settings import PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_what_is_not_set_has_its_default(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / ".tuneladder"
    assert settings.store_url() == f"sqlite:///{tmp_path}/.tuneladder/tuneladder.db"
    assert (settings.host, settings.port, settings.data_roots, settings.allowed_modules) == (
        "127.0.0.1",
        8400,
        (),
        (),
    )


def test_lists_are_separated_as_people_know_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNELADDER_DATA_ROOTS", "/data:more:")
    monkeypatch.setenv("TUNELADDER_ALLOWED_MODULES", "shop, lib.nets,")
    settings = load_settings()
    assert settings.data_roots == (Path("/data"), tmp_path / "more")
    assert settings.allowed_modules == ("shop", "lib.nets")


def test_what_is_given_stands_over_the_environment_and_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_PORT", "9000")
    monkeypatch.setenv("TUNELADDER_SLOTS", "")
    assert load_settings(port=None).port == 9000
    assert load_settings(port=9001).port == 9001
    assert load_settings().slots is None


def test_a_child_reads_what_its_parent_has(monkeypatch: pytest.MonkeyPatch) -> None:
    given = load_settings(
        database_url="postgresql://u:p@h/d", data_roots=("/a", "/b c"), allowed_modules=("x", "y.z"), slots=3,
        lease_s=7.5,
    )  # fmt: skip
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == given


def test_passwords_are_not_shown() -> None:
    settings = load_settings(database_url="postgresql://u:hunter2@h/d", mlflow_uri="postgresql://u:hunter2@h/m")
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "http", "TUNELADDER_PORT: input should be a valid integer"),
        ("port", "70000", "less than or equal to 65535"),
        ("max_body_bytes", "1", "TUNELADDER_MAX_BODY_BYTES"),
        ("allowed_modules", "a-b", "such as my_package, got 'a-b'"),
        ("watch_poll_s", "0", "greater than 0"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    with pytest.raises(InvalidSettingsError, match=message):
        load_settings()


def test_every_setting_says_what_it_is_for() -> None:
    assert all(info.description for info in Settings.model_fields.values())
