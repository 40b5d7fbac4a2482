"""Event streams: nothing is lost, nothing comes twice, and however many watch, the store is asked once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from api_parts import Asks, People, a_job, problem_of, running_job, serving, settings_for
from httpx_sse import ServerSentEvent, connect_sse

from service.api import create_app
from service.api.threads import Threads
from service.api.watchers import PAGE_SIZE, Watchers, polling
from service.settings import Settings
from service.store import JobState, Store, Wish

SSE = {"Accept": "text/event-stream"}


@contextmanager
def watching(
    url: str, people: People, job_id: str, *, who: str = "ann", **headers: str
) -> Iterator[Iterator[ServerSentEvent]]:
    with (
        httpx.Client(base_url=url, timeout=30) as client,
        connect_sse(
            client, "GET", f"/v1/jobs/{job_id}/events", headers={**people.headers(who), **headers}
        ) as source,
    ):
        assert source.response.status_code == 200
        yield source.iter_sse()


def numbers(events: Iterator[ServerSentEvent]) -> list[int]:
    found = []
    for event in events:
        body = json.loads(event.data)
        assert (event.event, event.id) == (body["kind"], str(body["number"]))
        found.append(body["number"])
    return found


def change(store: Store, job_id: str, times: int) -> None:
    """Make events."""
    start = store.job(job_id).priority
    for number in range(times):
        store.set_priority(job_id, start + number + 1)


def test_a_stream_tells_what_happens_and_ends_with_the_job(url: str, store: Store, people: People) -> None:
    job = a_job(store)
    with watching(url, people, job.id) as events:
        first = json.loads(next(events).data)
        assert (first["number"], first["data"]["state"]) == (0, "queued")
        store.ask_for(job.id, Wish.PAUSE)
        assert json.loads(next(events).data)["data"]["state"] == "paused"
        store.resume_job(job.id)
        store.ask_for(job.id, Wish.CANCEL)
        states = [json.loads(event.data)["data"]["state"] for event in events]
    assert states == ["queued", "cancelled"]


def test_a_stream_of_a_job_that_is_over_tells_all_and_ends(url: str, store: Store, people: People) -> None:
    job = running_job(store)
    store.fail_job(job.id, "no network learns")
    store.resume_job(job.id)  # a failed state in the middle ends nothing
    store.ask_for(job.id, Wish.CANCEL)
    num_events = store.job(job.id).num_events
    with watching(url, people, job.id) as events:
        assert numbers(events) == list(range(num_events))
    with watching(url, people, job.id, **{"Last-Event-ID": str(num_events - 1)}) as events:
        assert numbers(events) == []


@pytest.mark.parametrize("num_events", [3, 2 * PAGE_SIZE + 7])
def test_who_comes_back_misses_nothing_and_hears_nothing_twice(
    url: str, store: Store, people: People, num_events: int
) -> None:
    """The connection is cut again and again while events are being made."""
    job = a_job(store)
    change(store, job.id, num_events - 2)
    maker = threading.Thread(target=change, args=(store, job.id, 40))
    maker.start()
    seen: list[int] = []
    while len(seen) < num_events // 2 + 20:
        headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
        with watching(url, people, job.id, **headers) as events:
            for _ in range(1 + len(seen) % 40 + num_events // 10):
                seen.append(json.loads(next(events).data)["number"])
                if seen[-1] == num_events - 2 + 40:
                    break
    maker.join()
    store.ask_for(job.id, Wish.CANCEL)
    with watching(url, people, job.id, **{"Last-Event-ID": str(seen[-1])}) as events:
        seen += numbers(events)
    assert seen == list(range(store.job(job.id).num_events))


def test_last_event_id_goes_before_after(url: str, store: Store, people: People, ask: Asks) -> None:
    job = a_job(store)
    change(store, job.id, 5)
    store.ask_for(job.id, Wish.CANCEL)

    def streamed(**headers: str) -> list[str]:
        answer = ask("ann", "GET", f"/v1/jobs/{job.id}/events", params={"after": 1}, headers={**SSE, **headers})
        return [line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: ")]

    assert streamed() == ["2", "3", "4", "5", "6"]
    assert streamed(**{"Last-Event-ID": "4"}) == ["5", "6"]


def test_a_last_event_id_that_is_none_is_refused(ask: Asks, store: Store) -> None:
    job = a_job(store)
    for number in ("x", "-2", "1e3", "9" * 30, "--1", "2147483648"):
        headers = {**SSE, "Last-Event-ID": number}
        response = ask("ann", "GET", f"/v1/jobs/{job.id}/events", headers=headers)
        assert (number, response.status_code) == (number, 422)
        assert problem_of(response)["field"] == "header.last-event-id"


def test_a_number_beyond_the_last_event_waits_for_the_next_one(url: str, store: Store, people: People) -> None:
    job = a_job(store)
    with watching(url, people, job.id, **{"Last-Event-ID": "999"}) as events:
        store.ask_for(job.id, Wish.CANCEL)
        assert numbers(events) == [1]


def test_events_come_in_pages_too(ask: Asks, store: Store) -> None:
    job = a_job(store)
    change(store, job.id, 10)
    seen: list[int] = []
    after = -1
    while True:
        page = ask("ann", "GET", f"/v1/jobs/{job.id}/events", params={"after": after, "limit": 4}).json()
        seen += [event["number"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        after = int(page["next_cursor"])
    assert seen == list(range(11))


def test_silence_is_broken_by_heartbeats(settings: Settings, store: Store, people: People) -> None:
    job = a_job(store)
    brief = settings.model_copy(update={"heartbeat_s": 0.05})
    with (
        serving(create_app(brief, store)) as url,
        httpx.stream(
            "GET", f"{url}/v1/jobs/{job.id}/events", headers={**people.headers("ann"), **SSE}, timeout=30
        ) as response,
    ):
        beats = 0
        for line in response.iter_lines():
            beats += line == ": heartbeat"
            if beats == 3:
                break
        assert beats == 3  # and not a stream that has ended


def test_there_are_so_many_places_and_who_leaves_frees_one(
    settings: Settings, store: Store, people: People
) -> None:
    job = a_job(store)
    few = settings.model_copy(update={"max_watchers": 2, "heartbeat_s": 0.05})
    with serving(create_app(few, store)) as url, httpx.Client(base_url=url, timeout=30) as client:
        headers = {**people.headers("ann"), **SSE}
        with watching(url, people, job.id) as first:
            next(first)
            with watching(url, people, job.id) as second:
                next(second)
                refused = client.get(f"/v1/jobs/{job.id}/events", headers=headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
                assert problem_of(refused)["code"] == "rate_limited"
        while "tuneladder_watchers 0.0" not in client.get("/metrics", headers=people.headers("ann")).text:
            pass  # the server hears that they are gone
        with watching(url, people, job.id) as third:
            assert json.loads(next(third).data)["number"] == 0


def test_a_server_that_ends_ends_its_streams(settings: Settings, store: Store, people: People) -> None:
    job = a_job(store)
    heard: list[int] = []
    is_open = threading.Event()

    def watch(url: str) -> None:
        with watching(url, people, job.id) as events:
            heard.append(json.loads(next(events).data)["number"])
            is_open.set()
            heard.extend(numbers(events))

    with serving(create_app(settings, store)) as url:
        thread = threading.Thread(target=watch, args=(url,))
        thread.start()
        assert is_open.wait(30)
    thread.join(30)
    assert not thread.is_alive()
    assert heard == [0]


class CountingStore:
    """The real store, and how often it is asked for what."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[tuple[str, Any]] = []

    def num_events(self, job_ids: list[str]) -> dict[str, int]:
        self.asked.append(("num_events", len(job_ids)))
        return dict(self._store.num_events(job_ids))

    def events(self, job_id: str, **limits: int) -> Any:
        self.asked.append(("events", job_id))
        return self._store.events(job_id, **limits)


@pytest.mark.parametrize(("num_jobs", "num_each"), [(1, 50), (50, 1), (5, 10)])
def test_fifty_watchers_cost_one_question_a_tick(store: Store, num_jobs: int, num_each: int) -> None:
    jobs = [a_job(store) for _ in range(num_jobs)]
    counting = CountingStore(store)
    watchers = Watchers(counting, Threads(), poll_s=0.01, heartbeat_s=60, max_watchers=50)  # type: ignore[arg-type]

    async def watch(job: Any, ready: asyncio.Semaphore) -> list[int]:
        with watchers.seat(job.id) as feed:
            seen = []
            async for event in watchers.watch(job, feed, after=-1):
                assert event is not None
                seen.append(event.number)
                ready.release()
            return seen

    async def story() -> list[list[int]]:
        ready = asyncio.Semaphore(0)
        async with polling(watchers):
            tasks = [asyncio.create_task(watch(job, ready)) for job in jobs for _ in range(num_each)]
            for _ in tasks:
                await ready.acquire()
            before = len(counting.asked)
            while len([question for question in counting.asked[before:] if question[0] == "num_events"]) < 3:
                await asyncio.sleep(0.01)
            quiet = counting.asked[before:]
            assert set(quiet) == {("num_events", num_jobs)}  # one for all, and no events to read
            counting.asked.clear()
            for job in jobs:
                await asyncio.to_thread(store.ask_for, job.id, Wish.CANCEL)
            return await asyncio.gather(*tasks)

    assert asyncio.run(story()) == [[0, 1]] * 50
    assert watchers.num == 0
    read = [job_id for kind, job_id in counting.asked if kind == "events"]
    assert sorted(read) == sorted(job.id for job in jobs)  # once for each job, not for each watcher


def test_a_store_that_is_away_for_a_moment_ends_no_stream(store: Store) -> None:
    job = a_job(store)

    class Flaky(CountingStore):
        is_away = False

        def num_events(self, job_ids: list[str]) -> dict[str, int]:
            self.asked.append(("num_events", len(job_ids)))
            if self.is_away:
                raise ConnectionError("the store is away")
            return super().num_events(job_ids)

    flaky = Flaky(store)
    watchers = Watchers(flaky, Threads(), poll_s=0.01, heartbeat_s=60, max_watchers=5)  # type: ignore[arg-type]

    async def story() -> list[int]:
        seen = []
        async with polling(watchers):
            with watchers.seat(job.id) as feed:
                async for event in watchers.watch(job, feed, after=-1):
                    assert event is not None
                    seen.append(event.number)
                    if seen == [0]:
                        flaky.is_away = True
                        before = len(flaky.asked)
                        while len(flaky.asked) < before + 3:
                            await asyncio.sleep(0.01)
                        await asyncio.to_thread(store.ask_for, job.id, Wish.CANCEL)
                        flaky.is_away = False
        return seen

    assert asyncio.run(story()) == [0, 1]
    assert store.job(job.id).state == JobState.CANCELLED


@pytest.mark.parametrize("after", [-1, 0, 999])
def test_what_happens_while_a_stream_opens_is_told(store: Store, after: int) -> None:
    """The job ends between the look at it and the first event, which is also the last one."""
    job = a_job(store)
    store.ask_for(job.id, Wish.CANCEL)
    watchers = Watchers(store, Threads(), poll_s=0.01, heartbeat_s=60, max_watchers=5)

    async def story() -> list[int]:
        async with polling(watchers):
            with watchers.seat(job.id) as feed:
                return [event.number async for event in watchers.watch(job, feed, after=after) if event]

    assert asyncio.run(asyncio.wait_for(story(), 60)) == ([0, 1] if after == -1 else [1])


def test_settings_for_tests_do_not_come_from_the_environment(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELADDER_RATE_PER_MINUTE", "1")
    assert settings_for(home).rate_per_minute > 1
