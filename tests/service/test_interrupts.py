"""Ctrl-C and SIGTERM are kept until a block has ended, and lost by none."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from service.interrupts import interrupts_wait


class Terminated(BaseException):
    """What the process's own handler of SIGTERM raises here."""


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    def terminate(*_: object) -> None:
        raise Terminated

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminate),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_is_answered_when_the_block_has_ended(number: signal.Signals, error: type[BaseException]) -> None:
    reached = []
    with pytest.raises(error):  # noqa: PT012 - the block is what is tested
        with interrupts_wait():
            signal.raise_signal(number)
            reached.append("the end of the block")
        reached.append("what follows it")
    assert reached == ["the end of the block"]


def test_a_block_within_a_block_hands_the_signal_on() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():  # noqa: PT012 - the block is what is tested
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
        reached.append("after the inner block")
    assert reached == ["after the inner block"]


def test_an_error_of_the_block_does_not_lose_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interrupts_wait():  # noqa: PT012 - the block is what is tested
        signal.raise_signal(signal.SIGINT)
        raise ValueError("the block's own")
    assert isinstance(caught.value.__context__, ValueError)


def test_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts_wait():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_leaves_handlers_alone() -> None:
    seen = []

    def work() -> None:
        with interrupts_wait():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
