"""What every test shares: hypothesis draws the same examples in continuous integration; GPU tests need a GPU."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch  # five seconds that no other test need pay for

        if not torch.cuda.is_available():
            pytest.skip(f"needs a CUDA device, torch {torch.__version__} finds none")
