"""What every test shares: hypothesis draws the same examples in continuous integration; GPU tests need a GPU;
a PostgreSQL server, and the writer of the generated pages, for those that ask for one.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from postgres_server import PostgresServer

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so their commands would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch  # five seconds that no other test need pay for

        if not torch.cuda.is_available():
            pytest.skip(f"needs a CUDA device, torch {torch.__version__} finds none")


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """Load docs/generate.py as if it were run: its own folder is the first that Python looks in."""
    program = Path(__file__).parents[1] / "docs" / "generate.py"
    sys.path.insert(0, str(program.parent))
    spec = importlib.util.spec_from_file_location("generate", program)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(program.parent))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started when the first test of this process asks for it."""
    from postgres_server import running_server

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A database with the store's tables: copied in a tenth of the time that the migrations take."""
    from service.store import Store

    postgres_server.execute("CREATE DATABASE store_template")
    Store.open(postgres_server.url("store_template")).close()
    return "store_template"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database with the store's tables and nothing in them."""
    with postgres_server.database(postgres_template) as url:
        yield url
