"""What is imported when: seconds that a person waits for."""

import subprocess
import sys

import pytest

SLOW = ("torch", "pytorch_lightning", "mlflow", "optuna", "ray")


@pytest.mark.parametrize("module", ["service.cli", "service.documents", "service.embedded"])
def test_nothing_slow_is_imported_before_a_spec_is_known_to_be_sound(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
