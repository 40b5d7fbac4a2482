"""Requests on a fixed schedule, and watchers that count: what a server answers and how soon.

The schedule is open: a request is due at its time whether or not the one before has been answered, and its latency
counts from when it was due. So a server that stalls is charged for everybody who waited meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

Request = Callable[[int], httpx.Request]  # of the n-th request of a phase

CONNECTIONS = 100


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from when a request was due to the last byte of its answer."""

    p50_ms: float
    p99_ms: float
    num_requests: int
    rate: float  # answers a second that were reached


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


async def measure(
    client: httpx.AsyncClient, request: Request, *, rate: float, seconds: float, warm_up: int = 20
) -> Latencies:
    """Send requests at a rate and time the answers.

    Args:
        client: Of the server.
        request: Makes the n-th request; each must be answered with a status below 400.
        rate: Requests a second.
        seconds: For so long.
        warm_up: Requests in front, one after another, that are not counted.

    Raises:
        RuntimeError: A request was refused; a benchmark of errors says nothing.
    """
    for number in range(warm_up):
        _check(await client.send(request(-1 - number)))
    count = round(rate * seconds)
    latencies: list[float] = []

    async def one(number: int) -> None:
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        _check(await client.send(request(number)))
        latencies.append(1000 * (time.perf_counter() - due))

    with _no_collector():
        start = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))
    return Latencies(
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        num_requests=count,
        rate=count / (time.perf_counter() - start),
    )


@contextmanager
def _no_collector() -> Iterator[None]:
    """Keep the garbage collector of this process still: its pauses of 0.1 s would count as the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check(response: httpx.Response) -> None:
    if response.status_code >= 400:
        raise RuntimeError(f"{response.request.method} {response.request.url}: {response.text[:500]}")


async def watch(
    client: httpx.AsyncClient, urls: Sequence[str], *, last: Sequence[int], began: asyncio.Event
) -> float:
    """Follow jobs by server-sent events until each watcher has seen the last event of its job.

    Args:
        client: Of the server; allows a connection for each watcher.
        urls: Of each watcher's events.
        last: The number of the last event that each waits for.
        began: Set when every watcher is connected.

    Returns:
        Events delivered a second, over all watchers, from the moment that all were connected.
    """
    connected, seen = 0, 0

    async def one(url: str, until: int) -> None:
        nonlocal connected, seen
        async with client.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=None) as answer:
            answer.raise_for_status()
            connected += 1
            if connected == len(urls):
                began.set()
            async for line in answer.aiter_lines():
                if line.startswith("id:"):
                    seen += 1
                    if int(line[3:]) >= until:
                        return

    async with asyncio.TaskGroup() as group:
        for url, until in zip(urls, last, strict=True):
            group.create_task(one(url, until))
        await began.wait()
        start = time.perf_counter()
    return seen / (time.perf_counter() - start)
