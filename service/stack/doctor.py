"""Is this machine fit to tune on, and is what the settings name there? A line a question, with a remedy."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import psutil
from packaging.requirements import Requirement

from service.client.profiles import Profiles
from service.errors import TuneladderError
from service.settings import Settings
from service.stack.ports import API_PORT, MLFLOW_PORT, is_free
from service.stack.record import StackFile
from service.store import Store

GIB = 2**30
IMPORT_S, RAY_S, ANSWER_S = 120.0, 120.0, 5.0  # seconds that a question may take
MAX_SKEW_S = 2.0  # a third of the shortest sensible lease
MIN_OPEN_FILES = 4096  # Ray opens some hundred a slot
SHM = Path("/dev/shm")

_IMPORTS = """
import json, torch, pytorch_lightning, optuna, mlflow, ray
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""
_RAY = """
from service.engine.cluster import Cluster
with Cluster(num_cpus=1) as cluster:
    cluster.wait()
    import ray
    print(ray.get(ray.remote(lambda: 42).remote()))
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one question.

    Args:
        check: The question in a word.
        outcome: warning: it works, and not as well as it could; wrong: something will fail.
        found: What is there.
        remedy: What to do, unless all is well.
    """

    check: str
    outcome: Literal["ok", "warning", "wrong"]
    found: str
    remedy: str | None = None


def examine(settings: Settings, *, deep: bool = False) -> list[Finding]:
    """Ask every question; nothing is left behind.

    Args:
        settings: Say which home, store, MLflow and Ray.
        deep: Start a Ray too.
    """
    questions: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "packages": _packages,
        "libraries": _libraries,
        "home": lambda: _home(settings.home),
        "disk": lambda: _disk(settings.home),
        "clock": lambda: _clock(settings.home),
        "memory": _memory,
        "shared memory": _shared_memory,
        "open files": _open_files,
        "store": lambda: _store(settings),
        "mlflow": lambda: _mlflow(settings.mlflow_uri),
        "ray": lambda: _ray(settings.ray_address, deep=deep),
        "ports": lambda: _ports(settings),
        "profile": _profile,
    }
    return [_ask(check, question) for check, question in questions.items()]


def _ask(check: str, question: Callable[[], Finding]) -> Finding:
    try:
        return question()
    except Exception as error:
        said = str(error) if isinstance(error, TuneladderError) else f"{type(error).__name__}: {error}"
        return Finding(check=check, outcome="wrong", found=said.splitlines()[0], remedy="see the message")


def _python() -> Finding:
    found = sys.version.split()[0]
    if sys.version_info[:2] == (3, 11):
        return Finding(check="python", outcome="ok", found=found)
    return Finding(check="python", outcome="wrong", found=found, remedy="install tuneladder into a Python 3.11")


def _packages() -> Finding:
    """Compare what is installed with the ranges that tuneladder was made for."""
    bad = []
    wanted = [Requirement(text) for text in metadata.requires("tuneladder") or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in wanted:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            bad.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(version, prereleases=True):
            bad.append(f"{one.name} {version} is not {one.specifier}")
    if bad:
        return Finding(
            check="packages", outcome="wrong", found="; ".join(bad), remedy="pip install -c constraints.txt ."
        )
    return Finding(check="packages", outcome="ok", found=f"{len(wanted)}, all in their ranges")


def _libraries() -> Finding:
    done = _run(_IMPORTS, IMPORT_S)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Finding(check="libraries", outcome="wrong", found=said, remedy="install again with constraints.txt")
    found = json.loads(done.stdout.splitlines()[-1])
    gpus = ", ".join(found["gpus"])
    text = f"torch {found['torch']}, {os.cpu_count()} cores, GPUs: {gpus or 'none'}"
    if not gpus and shutil.which("nvidia-smi"):
        remedy = "torch sees none of this machine's GPUs: install torch for CUDA, and check the driver"
        return Finding(check="libraries", outcome="warning", found=text, remedy=remedy)
    return Finding(check="libraries", outcome="ok", found=text)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _home(home: Path) -> Finding:
    place = _existing(home)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        found = f"{place} cannot be written ({error.strerror})"
        return Finding(check="home", outcome="wrong", found=found, remedy="give it to this user, or choose --home")
    return Finding(check="home", outcome="ok", found=str(home) + ("" if home.exists() else " (will be made)"))


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_existing(home)).free
    text = f"{free / GIB:.1f} GiB free"
    if free < GIB:
        remedy = "checkpoints and MLflow need some: free 1 GiB, or choose --home elsewhere"
        return Finding(check="disk", outcome="wrong" if free < GIB / 4 else "warning", found=text, remedy=remedy)
    return Finding(check="disk", outcome="ok", found=text)


def _clock(home: Path) -> Finding:
    """Compare this machine's clock with that of the file system, which may be another machine's."""
    with tempfile.NamedTemporaryFile(dir=_existing(home), prefix=".doctor-") as file:
        skew = abs(os.stat(file.name).st_mtime - time.time())
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}, {skew:.1f} s from the home's file system"
    if skew > MAX_SKEW_S:
        return Finding(check="clock", outcome="warning", found=text, remedy="have NTP set the clocks")
    return Finding(check="clock", outcome="ok", found=text)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    if memory.available < 2 * GIB:
        remedy = "a job takes about 1 GiB and each slot another: end something, or lower TUNELADDER_SLOTS"
        return Finding(check="memory", outcome="warning", found=text, remedy=remedy)
    return Finding(check="memory", outcome="ok", found=text)


def _shared_memory() -> Finding:
    if not SHM.exists():
        return Finding(check="shared memory", outcome="ok", found="not of this system")
    total = shutil.disk_usage(SHM).total
    text = f"{total / GIB:.1f} GiB in {SHM}"
    if total < GIB:
        remedy = "Ray puts data on the disk then: docker run --shm-size=2g, or remount it larger"
        return Finding(check="shared memory", outcome="warning", found=text, remedy=remedy)
    return Finding(check="shared memory", outcome="ok", found=text)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_OPEN_FILES:
        return Finding(
            check="open files",
            outcome="warning",
            found=f"{soft} at most",
            remedy="ulimit -n 65536, before the start",
        )
    return Finding(check="open files", outcome="ok", found=f"{soft} at most")


def _store(settings: Settings) -> Finding:
    if settings.database_url is None and not settings.places.store_file.exists():
        return Finding(check="store", outcome="ok", found="none yet: the first start makes it")
    with Store.open(settings.store_url()) as store:
        num_jobs = sum(store.num_jobs().values())
    parts = urlsplit(settings.store_url())
    place = parts.path.removeprefix("/") if parts.scheme == "sqlite" else f"{parts.hostname}{parts.path}"
    return Finding(check="store", outcome="ok", found=f"{place}, {num_jobs} jobs")


def _mlflow(uri: str | None) -> Finding:
    if uri is None or not uri.startswith("http"):
        return Finding(check="mlflow", outcome="ok", found="a database in home" if uri is None else "a database")
    try:
        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_S)
        said = None if answer.is_success else f"answers {answer.status_code}"
    except httpx.HTTPError as error:
        said = f"does not answer ({error})"
    host = urlsplit(uri).hostname
    if said is not None:
        remedy = "start it, or correct TUNELADDER_MLFLOW_URI; jobs run meanwhile, and say the rest later"
        return Finding(check="mlflow", outcome="wrong", found=f"{host} {said}", remedy=remedy)
    return Finding(check="mlflow", outcome="ok", found=f"{host} answers")


def _ray(address: str | None, *, deep: bool) -> Finding:
    if address is not None:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=ANSWER_S).close()
        except (OSError, ValueError) as error:
            remedy = "start the cluster, or correct TUNELADDER_RAY_ADDRESS"
            return Finding(check="ray", outcome="wrong", found=f"{address}: {error}", remedy=remedy)
        return Finding(check="ray", outcome="ok", found=f"{address} answers")
    if not deep:
        return Finding(check="ray", outcome="ok", found="one for each job (--deep starts one)")
    began = time.monotonic()
    done = _run(_RAY, RAY_S)
    if done.returncode or "42" not in done.stdout:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Finding(check="ray", outcome="wrong", found=said, remedy="see /tmp/ray/session_latest/logs")
    return Finding(check="ray", outcome="ok", found=f"starts, works and ends in {time.monotonic() - began:.0f} s")


def _ports(settings: Settings) -> Finding:
    stack = StackFile(settings.places.folder).read()
    ours = set(stack.ports.values()) if stack.is_up() else set()
    taken = [port for port in (API_PORT, MLFLOW_PORT) if port not in ours and not is_free(port)]
    if taken:
        text = f"{', '.join(map(str, taken))} taken by others"
        return Finding(check="ports", outcome="warning", found=text, remedy="tuneladder up takes other ones")
    return Finding(check="ports", outcome="ok", found="this stack's" if ours else "free")


def _profile() -> Finding:
    profiles = Profiles.read()
    if profiles.default is None:
        found = f"none in {profiles.path}"
        return Finding(check="profile", outcome="ok", found=f"{found}: tuneladder up or profile set makes one")
    if warning := profiles.warning():
        return Finding(
            check="profile", outcome="warning", found=warning.partition(": ")[0], remedy=warning.partition(": ")[2]
        )
    profile = profiles.get(profiles.default)
    headers = {"Authorization": f"Bearer {profile.token}"} if profile.token else {}
    try:
        status = httpx.get(f"{profile.url}/v1/me", headers=headers, timeout=ANSWER_S).status_code
    except httpx.HTTPError:
        found = f"{profiles.default}: {profile.url} does not answer"
        return Finding(check="profile", outcome="warning", found=found, remedy="tuneladder up, or profile set")
    if status != httpx.codes.OK:
        found = f"{profiles.default}: {profile.url} answers {status}"
        return Finding(check="profile", outcome="wrong", found=found, remedy="have a new token made: token create")
    return Finding(check="profile", outcome="ok", found=f"{profiles.default}: {profile.url} knows its token")


def _run(code: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Ask in a process of its own: these libraries are slow to import, and may take the process with them."""
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {timeout_s:g} s")
