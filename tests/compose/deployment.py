"""A deployment of docker-compose.yml under a project name, an .env and ports of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = "tuneladder-check"


class Deployment:
    """The services of docker-compose.yml, beside any other deployment of them on this machine.

    Args:
        folder: For its .env and the folders that it mounts.
        changes: Variables of the .env that differ from .env.example.
    """

    def __init__(self, folder: Path, **changes: str) -> None:
        self._env_file = folder / ".env"
        self.ports = dict(zip(("API_PORT", "MLFLOW_PORT"), _free_ports(2), strict=True))
        changes |= {name: str(port) for name, port in self.ports.items()}
        for name in ("DATA_DIR", "MODULES_DIR"):
            changes[name] = str(folder / name.lower())
            Path(changes[name]).mkdir()
        subprocess.run([ROOT / "docker/make-env.sh", self._env_file], check=True, stdout=subprocess.DEVNULL)
        text = self._env_file.read_text()
        for name, value in changes.items():
            text, found = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            assert found == 1, f".env.example must name {name} once, found {found}"
        self._env_file.write_text(text)
        self._command = _compose_command()

    def compose(self, *arguments: str) -> None:
        """Run a command of docker-compose; its output is the caller's."""
        subprocess.run(self._line(*arguments), cwd=ROOT, check=True)

    def ask(self, service: str, *command: str, env: dict[str, str] | None = None) -> str:
        """Run a command in a service's first container and give its standard output."""
        done = self._run_inside(service, command, env)
        assert done.returncode == 0, f"{service}: {' '.join(command)}: {done.stderr}"
        return done.stdout

    def refuses(self, service: str, *command: str, env: dict[str, str] | None = None) -> bool:
        """Say whether a command fails in a service's container."""
        return self._run_inside(service, command, env).returncode != 0

    def containers(self, service: str) -> list[str]:
        """List the ids of a service's running containers, in the order of their numbers."""
        filters = [
            f"--filter=label=com.docker.compose.{key}" for key in (f"project={PROJECT}", f"service={service}")
        ]
        form = '--format={{.Label "com.docker.compose.container-number"}} {{.ID}}'
        listed = subprocess.run(["docker", "ps", *filters, form], check=True, stdout=subprocess.PIPE, text=True)
        return [line.split()[1] for line in sorted(listed.stdout.splitlines())]

    def remove(self) -> None:
        """End everything, volumes and networks included; nothing happens where there is nothing."""
        self.compose("--profile", "gpu", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def _run_inside(
        self, service: str, command: tuple[str, ...], env: dict[str, str] | None
    ) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in (env or {}).items() for part in ("-e", f"{name}={value}")]
        line = self._line("exec", "-T", *given, service, *command)
        return subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)

    def _line(self, *arguments: str) -> list[str]:
        return [*self._command, "--env-file", str(self._env_file), "--project-name", PROJECT, *arguments]


def _compose_command() -> list[str]:
    """Compose v2 where Docker has it, else docker-compose; COMPOSE names another."""
    if named := os.environ.get("COMPOSE"):
        return named.split()
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if found := shutil.which("docker-compose"):
        return [found]
    raise SystemExit("Docker with Compose v2 or docker-compose 1.29 is needed, found neither: install one")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
