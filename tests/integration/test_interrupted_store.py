"""Ctrl-C in the middle of a transaction waits until it has ended, so that the job can still be put aside."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.store import JobState, Store


class InterruptingClock:
    """The store asks for the time inside its transactions: there the person presses Ctrl-C, once."""

    def __init__(self) -> None:
        self.was_asked = False

    def __call__(self) -> datetime:
        if not self.was_asked:
            self.was_asked = True
            signal.raise_signal(signal.SIGINT)
        return datetime.now(UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tuneladder.db'}"


@pytest.fixture(autouse=True)
def _python_s_own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_transaction_comes_after_it(url: str) -> None:
    with Store.open(url) as store:
        job = store.create_job(name="a", spec={}, spec_fingerprint="a", base_dir="/", seed=0)
    with Store.open(url, clock=InterruptingClock()) as store:
        with pytest.raises(KeyboardInterrupt) as interrupted:
            store.start_job(job.id)
        # The exception is alive, as it is while the runner puts its job aside.
        assert interrupted.value.__traceback__ is not None
        assert store.job(job.id).state is JobState.RUNNING
        assert store.pause_job(job.id, "interrupted").state is JobState.PAUSED


def test_the_handlers_are_as_they_were(url: str) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Store.open(url) as store:
        store.create_job(name="a", spec={}, spec_fingerprint="a", base_dir="/", seed=0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
