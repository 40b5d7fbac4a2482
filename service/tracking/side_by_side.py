"""Requests to a server side by side: a slow one then takes its own time, and not that of all requests in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_threads: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Item, Result | Exception], None, None]:
    """Call a function with each item, and yield what it returned or raised, as it comes.

    Closing the iterator begins no other call and waits for those under way, as nobody may repeat what is still
    being done. The threads are daemons: a process may end while a request hangs.

    Args:
        work: The function.
        items: Its arguments, begun in their order.
        num_threads: Calls at a time, at least one; a single one is made in this thread.
        should_stop: Asked before each call; once it says yes, no other begins.
    """
    waiting: SimpleQueue[Item] = SimpleQueue()
    for item in items:
        waiting.put(item)
    leaving = threading.Event()

    def calls() -> Iterator[tuple[Item, Result | Exception]]:
        while not (leaving.is_set() or should_stop()):
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            try:
                yield item, work(item)
            except Exception as error:
                yield item, error

    if num_threads == 1:
        yield from calls()
        return
    done: SimpleQueue[tuple[Item, Result | Exception] | None] = SimpleQueue()

    def run() -> None:
        for outcome in calls():
            done.put(outcome)
        done.put(None)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(num_threads, len(items)))]
    for thread in threads:
        thread.start()
    num_running = len(threads)
    try:
        while num_running:
            outcome = done.get()
            if outcome is None:
                num_running -= 1
            else:
                yield outcome
    finally:
        leaving.set()
        for thread in threads:
            thread.join()
