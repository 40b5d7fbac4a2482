"""How soon the service answers with a large store behind it, on PostgreSQL and on SQLite.

    python -m benchmarks.service --json

A store is filled with 10,000 jobs and 1,000,000 measurements, the API is started as a process of its own, and
requests are sent at 50 a second, kind by kind: submit a job, show one, list a page, a page of trials with their
measurements. Latencies count from when a request was due. Then 50 watchers follow jobs by server-sent events while
another process makes events as fast as the store takes them. The last line of standard output is

    {"postgres": {"show_p50_ms": ..., "show_p99_ms": ..., "list_p50_ms": ..., "list_p99_ms": ...,
                  "trials_p50_ms": ..., "trials_p99_ms": ..., "submit_p50_ms": ..., "submit_p99_ms": ...,
                  "events_per_s": ..., "store": {...}},
     "sqlite": {...}, "settings": {...}}

where events_per_s are events delivered, summed over the watchers; "store" holds for each question to the store how
long one thread waits for the answer. PostgreSQL is a real server that starts for this.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.service.load import CONNECTIONS, Request, measure, watch
from benchmarks.service.seed import OWNERS, seed_store
from benchmarks.service.servers import Server, api_server, postgres, writer
from benchmarks.service.store_times import measure_store

BACKENDS = ("postgres", "sqlite")
SPEC: dict[str, Any] = {
    "name": "digits-mlp",
    "family": "mlp",
    "data": {"name": "digits"},
    "budget": {"epochs": 60, "max_epochs_per_trial": 10},
}
NUM_EVENTS = 200  # that each watched job gets
WATCHERS_OF_A_JOB = 5


def requests(client: httpx.AsyncClient, jobs: Sequence[str], large: str) -> Mapping[str, Request]:
    """Make the requests of each kind, for jobs drawn by a fixed seed.

    Every tenth page of trials is one of the large job, 50 trials with 30 epochs each: half a megabyte.
    """
    generator = random.Random(0)

    def submit(number: int) -> httpx.Request:
        headers = {"Idempotency-Key": uuid4().hex}
        return client.build_request("POST", "/v1/jobs", json=SPEC | {"seed": max(number, 0)}, headers=headers)

    def show(number: int) -> httpx.Request:
        return client.build_request("GET", f"/v1/jobs/{generator.choice(jobs)}")

    def page(number: int) -> httpx.Request:
        owner = OWNERS[number % len(OWNERS)]
        filters = ({}, {"state": "completed"}, {"sort": "created"}, {"owner": owner})[number % 4]
        return client.build_request("GET", "/v1/jobs", params={"limit": 50, **filters})

    def trials(number: int) -> httpx.Request:
        job = large if number % 10 == 0 else generator.choice(jobs)
        return client.build_request("GET", f"/v1/jobs/{job}/trials", params={"limit": 50, "measurements": True})

    return {"submit": submit, "show": show, "list": page, "trials": trials}


async def some_jobs(client: httpx.AsyncClient, num_pages: int = 20) -> list[str]:
    """List jobs from all over the store, page by page from both ends."""
    found: list[str] = []
    for sort in ("created", "-created"):
        cursor: dict[str, str] = {}
        for _ in range(num_pages):
            answer = await client.get("/v1/jobs", params={"limit": 100, "sort": sort, **cursor})
            page = answer.raise_for_status().json()
            found += [job["id"] for job in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
    return found


async def load(server: Server, large: str, chosen: argparse.Namespace, database: str) -> dict[str, float]:
    """Send every kind of request, then follow jobs."""
    figures: dict[str, float] = {}
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=30) as client:
        jobs = await some_jobs(client)
        for kind, request in requests(client, jobs, large).items():
            found = await measure(client, request, rate=chosen.rate, seconds=chosen.seconds)
            figures |= {f"{kind}_p50_ms": found.p50_ms, f"{kind}_p99_ms": found.p99_ms}
            print(
                f"{kind}: p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms of {found.num_requests} requests "
                f"at {found.rate:.0f} a second",
                file=sys.stderr,
            )
        figures["events_per_s"] = await follow(client, chosen.watchers, database)
        print(f"{figures['events_per_s']:.0f} events a second to {chosen.watchers} watchers", file=sys.stderr)
    return figures


async def follow(client: httpx.AsyncClient, num_watchers: int, database: str) -> float:
    """Let watchers follow queued jobs, five each, while a process makes events."""
    answers = [
        await client.post("/v1/jobs", json=SPEC | {"seed": 1_000_000 + number})
        for number in range(max(1, num_watchers // WATCHERS_OF_A_JOB))
    ]
    jobs = [str(answer.raise_for_status().json()["id"]) for answer in answers]
    watched = [jobs[number % len(jobs)] for number in range(num_watchers)]
    last = {}
    for job in jobs:
        page = (await client.get(f"/v1/jobs/{job}/events")).raise_for_status().json()
        last[job] = max(event["number"] for event in page["items"]) + NUM_EVENTS
    urls = [f"/v1/jobs/{job}/events?after={last[job] - NUM_EVENTS}" for job in watched]
    began = asyncio.Event()

    async def make_events() -> None:
        await began.wait()
        with writer(database, jobs, NUM_EVENTS) as process:
            await asyncio.to_thread(process.wait)

    async with asyncio.TaskGroup() as group:
        group.create_task(make_events())
        delivered = group.create_task(watch(client, urls, last=[last[job] for job in watched], began=began))
    return delivered.result()


@contextmanager
def backend(name: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty store."""
    if name == "sqlite":
        yield f"sqlite:///{folder / 'tuneladder.db'}"
        return
    with postgres(folder / "postgres") as url:
        yield url


def run(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Fill a store, start the API on it and measure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuneladder-bench-")))
        database = stack.enter_context(backend(name, folder))
        print(f"{name}: filling the store", file=sys.stderr)
        seeded = seed_store(database, num_jobs=chosen.jobs, num_measurements=chosen.measurements)
        print(f"{name}: filled in {seeded.wall_s:.0f} s", file=sys.stderr)
        times = measure_store(database, seeded)
        server = stack.enter_context(api_server(database, folder))
        return {**asyncio.run(load(server, seeded.large_job, chosen, database)), "store": times}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--measurements", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind of request")
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--backends", default=",".join(BACKENDS), help="some of them, with commas")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.backends.split(",")) - set(BACKENDS))
    if unknown:
        parser.error(f"--backends are out of {', '.join(BACKENDS)}, got {', '.join(unknown)}")
    for name in ("jobs", "measurements", "rate", "seconds", "watchers"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} is at least 1, got {getattr(chosen, name)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each backend and print."""
    chosen = _parse(arguments)
    figures: dict[str, Any] = {name: run(name, chosen) for name in chosen.backends.split(",")}
    settings = {key: value for key, value in vars(chosen).items() if key != "json"}
    result = figures | {"settings": settings | {"cores": os.cpu_count()}}
    print(json.dumps(result) if chosen.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
