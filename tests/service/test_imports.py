"""What is imported when: seconds that a person waits for."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.importing import collector_paused

SLOW = ("torch", "pytorch_lightning", "mlflow", "optuna", "ray")


@pytest.mark.parametrize("module", ["service.cli", "service.client", "service.documents", "service.embedded"])
def test_nothing_slow_is_imported_before_a_spec_is_known_to_be_sound(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "words", [["jobs"], ["show"], ["trials"], ["submit", "pyproject.toml"], ["watch", "a"], ["profile", "list"]]
)
def test_a_command_for_a_server_imports_nothing_of_what_is_behind_the_server(
    words: list[str], tmp_path: Path
) -> None:
    """Until the refused connection, the last thing that such a command does here."""
    code = (
        f"import sys; sys.argv[1:] = {words}\n"
        "from service.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('imported', *(n for n in {(*SLOW, 'sqlalchemy', 'numpy')} if n in sys.modules))"
    )
    environment = {**os.environ, "TUNELADDER_URL": "http://127.0.0.1:1"}
    environment["TUNELADDER_PROFILE_FILE"] = str(tmp_path / "none.toml")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].split() == ["imported"]
    assert words[0] == "profile" or "must listen at http://127.0.0.1:1" in done.stderr


def test_the_collector_rests_while_modules_are_imported_and_works_again_whatever_happens() -> None:
    assert gc.isenabled()
    with collector_paused() as resume:
        assert not gc.isenabled()
        resume()
        assert gc.isenabled()
    with pytest.raises(ImportError), collector_paused():
        raise ImportError("of a module")
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()  # somebody else's wish
    finally:
        gc.enable()
        gc.unfreeze()


def test_finders_of_packages_are_settled_before_ray_starts_beside_this_process(tmp_path: Path) -> None:
    """Ray imports MLflow in a thread of its own; by then importlib_metadata must be whole for all threads."""
    code = f"""
import sys, threading
from pathlib import Path
from service.documents import parse_spec
from service.home import Home
from service.seats import RunOptions, Seats

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "importlib_metadata":
            print(threading.current_thread().name, "cluster" if "ray" in sys.modules else "before")

sys.meta_path.insert(0, Watch())
spec = parse_spec({{"family": "mlp", "data": {{"name": "wine"}}}})
with Seats(spec, RunOptions(num_slots=1), Home(Path({str(tmp_path)!r}))) as seats:
    seats.boot()
    seats.wait_for_ray()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["MainThread", "before"]
