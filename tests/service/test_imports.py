"""What is imported when: seconds that a person waits for."""

import gc
import subprocess
import sys

import pytest

from service.importing import collector_paused

SLOW = ("torch", "pytorch_lightning", "mlflow", "optuna", "ray")


@pytest.mark.parametrize("module", ["service.cli", "service.documents", "service.embedded"])
def test_nothing_slow_is_imported_before_a_spec_is_known_to_be_sound(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


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
