"""The doctor finds what is wrong, names the remedy, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from service.settings import load_settings
from service.stack import doctor
from service.stack.doctor import Finding, examine
from service.store import Store, sqlite_url


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import something smaller than torch and Ray."""
    answer = 'print(\'{"torch": "2", "cuda": null, "gpus": ["H200"]}\')'
    monkeypatch.setattr(doctor, "_IMPORTS", answer)


def find(check: str, **settings: object) -> Finding:
    (found,) = [finding for finding in examine(load_settings(**settings)) if finding.check == check]
    return found


def test_a_sound_machine_passes_and_nothing_is_left_behind(tmp_path: Path) -> None:
    findings = examine(load_settings(home=tmp_path / "home"))
    assert [finding for finding in findings if finding.outcome == "wrong"] == []
    assert list(tmp_path.iterdir()) == []
    assert {"python", "packages", "libraries", "home", "disk", "clock", "memory", "store", "ray"} <= {
        finding.check for finding in findings
    }


def test_libraries_that_cannot_be_imported_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_IMPORTS", "import no_such_library")
    found = find("libraries")
    assert (found.outcome, found.found) == ("wrong", "ModuleNotFoundError: No module named 'no_such_library'")


def test_a_package_out_of_its_range_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["numpy<1", "no-such-package>=2"])
    found = find("packages")
    assert found.outcome == "wrong"
    assert "numpy" in found.found
    assert "is not <1" in found.found
    assert "no-such-package is missing" in found.found


def test_a_home_that_cannot_be_made_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = find("home", home=tmp_path / "file" / "home")
    assert found.outcome == "wrong"
    assert str(tmp_path / "file") in found.found


def test_a_store_is_named_without_its_password_and_counted(tmp_path: Path) -> None:
    with Store.open(sqlite_url(tmp_path / "tuneladder.db")):
        pass
    assert find("store", home=tmp_path).found == f"{tmp_path}/tuneladder.db, 0 jobs"
    away = find("store", database_url="postgresql://ann:secret@127.0.0.1:1/tuning")
    assert away.outcome == "wrong"
    assert "secret" not in away.found


def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


def test_an_mlflow_and_a_ray_that_do_not_answer_are_found() -> None:
    mlflow = find("mlflow", mlflow_uri=f"http://ann:secret@127.0.0.1:{closed_port()}")
    assert mlflow.outcome == "wrong"
    assert "secret" not in mlflow.found
    ray = find("ray", ray_address=f"127.0.0.1:{closed_port()}")
    assert (ray.outcome, ray.remedy) == ("wrong", "start the cluster, or correct TUNELADDER_RAY_ADDRESS")
    assert find("ray", ray_address="no port").outcome == "wrong"


def test_a_profile_that_others_can_read_or_that_leads_nowhere_is_found(profile_file: Path) -> None:
    profile_file.parent.mkdir()
    token = f"tl_{'a' * 43}"
    url = f"http://127.0.0.1:{closed_port()}"
    profile_file.write_text(f'default = "local"\n[local]\nurl = "{url}"\ntoken = "{token}"\n')
    profile_file.chmod(0o644)
    found = find("profile")
    assert found.outcome == "warning"
    assert found.remedy == f"chmod 600 {profile_file}"
    profile_file.chmod(0o600)
    assert find("profile").found == f"local: {url} does not answer"
    profile_file.write_text("default = ")
    assert find("profile").outcome == "wrong"
