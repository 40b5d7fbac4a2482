"""Event streams: one poller asks the store for the events of all watched jobs, whoever and however many watch.

A tick of the poller is one question for the numbers of events, and one more for each job that has new ones. What
is new goes to all watchers of the job; one that begins late, or reads slowly, reads what it missed from the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from service.api.problems import ProblemError
from service.api.threads import Threads
from service.store import EventRecord, JobRecord, JobState, Store

PAGE_SIZE = 500  # events that are read, and kept for slow watchers, at once
FINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

log = structlog.get_logger("tuneladder.api")


@dataclass
class Feed:
    """What is known of a watched job's events.

    Args:
        end: Events with a number below this one are on record.
        recent: The latest of them, without gaps.
    """

    end: int = 0
    num_watchers: int = 0
    recent: deque[EventRecord] = field(default_factory=lambda: deque(maxlen=PAGE_SIZE))
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def reach(self, end: int, events: Sequence[EventRecord] = ()) -> None:
        """Hear that there are more events, and perhaps which."""
        if events:
            if self.recent and self.recent[-1].number + 1 != events[0].number:
                self.recent.clear()
            self.recent.extend(events)
        if end > self.end:
            self.end = end
            self.wake()

    def wake(self) -> None:
        """Let all watchers look."""
        self.news.set()
        self.news = asyncio.Event()

    def kept_after(self, number: int) -> list[EventRecord] | None:
        """Give the events behind a number, if they are still here."""
        if not self.recent or not self.recent[0].number <= number + 1 <= self.recent[-1].number:
            return None
        return list(self.recent)[number + 1 - self.recent[0].number :]


class Watchers:
    """All event streams of a process.

    Args:
        store: Where the events are.
        threads: Threads the questions to it.
        poll_s: Between two looks.
        heartbeat_s: Of silence, before a stream gives None.
        max_watchers: Streams at once.
    """

    def __init__(
        self, store: Store, threads: Threads, *, poll_s: float, heartbeat_s: float, max_watchers: int
    ) -> None:
        self._store = store
        self._threads = threads
        self._poll_s = poll_s
        self._heartbeat_s = heartbeat_s
        self._max_watchers = max_watchers
        self._feeds: dict[str, Feed] = {}
        self._has_feeds = asyncio.Event()
        self._is_closed = False

    @property
    def num(self) -> int:
        """How many streams are open."""
        return sum(feed.num_watchers for feed in self._feeds.values())

    def close(self) -> None:
        """End all streams, so that the server can end; their clients go on elsewhere or later."""
        self._is_closed = True
        for feed in self._feeds.values():
            feed.wake()

    @contextmanager
    def seat(self, job_id: str) -> Iterator[Feed]:
        """Hold one of the places for streams.

        Raises:
            ProblemError: All are taken.
        """
        if self.num >= self._max_watchers:
            raise ProblemError(
                "rate_limited",
                f"at most {self._max_watchers} event streams are open at once: wait, or ask for pages of events",
                headers={"Retry-After": "5"},
            )
        feed = self._feeds.setdefault(job_id, Feed())
        feed.num_watchers += 1
        self._has_feeds.set()
        try:
            yield feed
        finally:
            feed.num_watchers -= 1
            if not feed.num_watchers:
                del self._feeds[job_id]
            if not self._feeds:
                self._has_feeds.clear()

    async def watch(self, job: JobRecord, feed: Feed, *, after: int) -> AsyncIterator[EventRecord | None]:
        """Give a job's events behind a number as they happen, until the job has ended; None for a heartbeat.

        Args:
            job: As it was when the stream was asked for.
            feed: The job's, from `seat`.
            after: The last number that the watcher has seen; -1 for none.
        """
        # State and number are of one moment: whatever led to the state is among these events, what comes later is
        # behind them, and a number from beyond waits for the next one.
        feed.reach(job.num_events)
        state, last = job.state, min(after, job.num_events - 1)
        while not self._is_closed:
            for event in await self._next(job.id, feed, last):
                last = event.number
                if event.kind == "job":
                    state = JobState(event.data["state"])
                yield event
            if last + 1 < feed.end:
                continue
            if state in FINAL_STATES:
                return
            try:
                await asyncio.wait_for(feed.news.wait(), self._heartbeat_s)
            except TimeoutError:
                yield None

    async def poll(self) -> None:
        """Look for new events of all watched jobs, again and again; runs beside the requests."""
        while True:
            await self._has_feeds.wait()
            try:
                await self._look()
            except Exception as error:  # the store may come back, and the streams with it
                log.warning("events cannot be read", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._poll_s)

    async def _look(self) -> None:
        counts = await self._threads.run(self._store.num_events, list(self._feeds))
        for job_id, end in counts.items():
            feed = self._feeds.get(job_id)
            if feed is not None and end > feed.end:
                events = await self._threads.run(self._store.events, job_id, after=feed.end - 1, limit=PAGE_SIZE)
                feed.reach(end, events)

    async def _next(self, job_id: str, feed: Feed, last: int) -> Sequence[EventRecord]:
        if last + 1 >= feed.end:
            return ()
        kept = feed.kept_after(last)
        if kept is not None:
            return kept
        return await self._threads.run(self._store.events, job_id, after=last, limit=PAGE_SIZE)


@contextlib.asynccontextmanager
async def polling(watchers: Watchers) -> AsyncIterator[None]:
    """Run the poller for as long as the block."""
    task = asyncio.create_task(watchers.poll())
    try:
        yield
    finally:
        watchers.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
