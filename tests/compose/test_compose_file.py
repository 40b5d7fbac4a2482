"""What docker-compose.yml, the Dockerfile and .env.example promise, as far as it can be seen without Docker."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(set(SERVICES) - {"postgres"})
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
# A setting of the data sets alone: lightning_modules/data/download.py
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}DATA"}


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def texts(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for pair in node.items() for part in pair for text in texts(part)]
    if isinstance(node, list):
        return [text for part in node for text in texts(part)]
    return [str(node)]


def test_the_services_are_those_of_the_documents() -> None:
    expected = {"postgres", "mlflow", "ray-head", "ray-worker", "ray-worker-gpu", "api", "worker"}
    assert set(SERVICES) == expected
    text = (ROOT / "docs/operations.md").read_text()
    assert [name for name in expected if f"`{name}`" not in text] == []


def test_every_setting_in_the_compose_file_and_the_image_is_known() -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / "docker-compose.yml").read_text()))
    named |= set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / "Dockerfile").read_text()))
    assert len(named) > 5
    assert named - KNOWN == set()


def test_the_example_holds_every_variable_and_none_that_nobody_reads() -> None:
    used = {match[1] for text in texts(COMPOSE) for match in VARIABLE.finditer(text)}
    assert used == set(read_env(ROOT / ".env.example"))


def test_a_variable_without_a_value_has_the_example_s() -> None:
    example = read_env(ROOT / ".env.example")
    for text in texts(COMPOSE):
        for match in VARIABLE.finditer(text):
            assert match[2], f"{match[0]} must have a default or be asked for"
            if match[2] == "-":
                assert match[3] == example[match[1]], match[0]


def test_secrets_have_no_default() -> None:
    secrets = [name for name, value in read_env(ROOT / ".env.example").items() if not value]
    for text in texts(COMPOSE):
        for match in VARIABLE.finditer(text):
            if match[1].endswith(("_PASSWORD", "_TOKEN")):
                assert match[1] in secrets
                assert match[2] == "?", f"{match[0]} must be asked for"


def test_images_are_pinned_and_ours_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"tuneladder:{version}"}
    for name in ("PYTHON_IMAGE", "POSTGRES_IMAGE"):
        assert re.fullmatch(r"[a-z]+:\d[\w.]*-[\w-]+", read_env(ROOT / ".env.example")[name]), name
    assert f"PYTHON_IMAGE={read_env(ROOT / '.env.example')['PYTHON_IMAGE']}" in (ROOT / "Dockerfile").read_text()


def test_ports_open_on_this_machine_alone() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"api", "mlflow"}
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)


def test_training_code_reaches_no_database() -> None:
    assert COMPOSE["networks"]["cluster"] == {"internal": True}
    for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
        assert SERVICES[name]["networks"] == ["cluster"]
        assert not {"STORE_PASSWORD", "MLFLOW_PASSWORD"} & {
            match[1] for text in texts(SERVICES[name]) for match in VARIABLE.finditer(text)
        }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_has_a_health_check_and_comes_back_by_itself(name: str) -> None:
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(SERVICES[name]["healthcheck"])
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_no_privileges(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in SERVICES[name]
    assert re.findall(r"(?m)^USER (.*)$", (ROOT / "Dockerfile").read_text()) == ["10001:10001"]


def test_every_ray_node_asks_for_the_token() -> None:
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_data_and_modules_are_the_same_wherever_they_are_needed_and_cannot_be_written() -> None:
    mounts = {
        name: [volume for volume in service.get("volumes", []) if volume.startswith("${")]
        for name, service in SERVICES.items()
    }
    inputs = ["${DATA_DIR:-./data}:/data:ro", "${MODULES_DIR:-./modules}:/modules:ro"]
    assert {name for name, found in mounts.items() if found} == {"api", "worker", "ray-worker", "ray-worker-gpu"}
    assert all(found in ([], inputs) for found in mounts.values())


def test_what_must_survive_lies_in_volumes() -> None:
    kept = [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v[0] not in "$."]
    assert set(kept) == set(COMPOSE["volumes"]) == {"postgres", "mlflow", "home"}


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text())
    tops = {source.split("/")[0] for line in copied for source in line.split()}
    assert tops == sent
    assert all((ROOT / name).exists() for name in sent)


def test_make_env_writes_secrets_of_its_own_and_never_over_them(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    for file in files:
        subprocess.run([ROOT / "docker/make-env.sh", file], check=True, capture_output=True)
    example, first, second = (read_env(file) for file in (ROOT / ".env.example", *files))
    names = ["POSTGRES_PASSWORD", "STORE_PASSWORD", "MLFLOW_PASSWORD", "RAY_AUTH_TOKEN"]
    secrets = [env[name] for env in (first, second) for name in names]
    assert len(set(secrets)) == 8
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in secrets)
    assert {name: value for name, value in first.items() if name not in names} == {
        name: value for name, value in example.items() if name not in names
    }
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    again = subprocess.run([ROOT / "docker/make-env.sh", files[0]], check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert read_env(files[0]) == first


@pytest.mark.parametrize("script", sorted((ROOT / "docker").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_well_formed(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_the_manifest_for_kubernetes_speaks_of_the_same_image_settings_and_versions() -> None:
    text = (ROOT / "docker/kuberay.yaml").read_text()
    kinds = [item["kind"] for item in yaml.safe_load(text)["items"]]
    assert kinds == ["Secret", "PersistentVolumeClaim", "RayCluster", "Deployment", "Deployment", "Service"]
    assert set(re.findall(r"\btuneladder:[\d.]+", text)) == {SERVICES["api"]["image"]}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", text)) <= KNOWN
    ray = re.search(r"(?m)^ray==(.*)$", (ROOT / "constraints.txt").read_text())
    assert ray
    assert f"rayVersion: {ray[1]}" in text
    scripts = set(re.findall(r"/opt/tuneladder/(\S+\.\w+)", text + (ROOT / "docker-compose.yml").read_text()))
    assert {script.strip(",]") for script in scripts} <= {path.name for path in (ROOT / "docker").iterdir()}
