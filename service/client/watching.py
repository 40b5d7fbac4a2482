"""A job's events as they happen, over connections that may break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from httpx_sse import EventSource, SSEError

from service.client.errors import ApiError, ServerUnreachableError
from service.client.events import Event, JobEvent, parse_event
from service.client.models import FINAL_STATES
from service.client.transport import PASSING, Transport

SILENCE_S = 60.0  # the server's heartbeats come several times in it
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


@dataclass
class Watch:
    """Reads a job's events from a number on and goes on behind the last one when the connection breaks.

    Args:
        transport: To the server.
        path: Of the job's events.
        is_over: Asks whether the job is in a final state.
        patience_s: How long to go on trying without an event or an answer.
        say: Hears that the connection broke, and that it is tried again.
    """

    transport: Transport
    path: str
    is_over: Callable[[], bool]
    patience_s: float
    say: Callable[[str], None]

    def events(self, after: int) -> Iterator[Event]:
        """Give the events behind number `after` until the server ends the stream, the job being over.

        Raises:
            ServerUnreachableError: It could not be reached for `patience_s`.
            ApiError: The server refuses.
        """
        last, pause_s, heard_at = after, FIRST_PAUSE_S, time.monotonic()
        state = None
        while True:
            error: ServerUnreachableError | ApiError | None = None
            try:
                for event in self._connection(last):
                    last, pause_s, heard_at = event.number, FIRST_PAUSE_S, time.monotonic()
                    state = event.data.state if isinstance(event, JobEvent) else state
                    yield event
                if state in FINAL_STATES or (state is None and self.is_over()):
                    return
            except (ServerUnreachableError, ApiError) as caught:
                if not _may_pass(caught) or time.monotonic() - heard_at > self.patience_s:
                    raise
                error = caught
            self.say(f"{error or 'the server ended the connection'}; trying again")
            asked_s = error.retry_after_s if isinstance(error, ApiError) else None
            time.sleep(max(pause_s, min(asked_s or 0.0, LONGEST_PAUSE_S)))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _connection(self, last: int) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(last), "Cache-Control": "no-store"} if last >= 0 else {}
        with self.transport.stream(
            self.path, kind="text/event-stream", headers=headers, silence_s=SILENCE_S
        ) as response:
            try:
                for message in EventSource(response).iter_sse():
                    if message.data and (event := parse_event(message.json())).number > last:
                        yield event
            except SSEError as error:
                raise ServerUnreachableError(f"events must come as a stream, got: {error}") from None


def _may_pass(error: ServerUnreachableError | ApiError) -> bool:
    return error.is_passing if isinstance(error, ServerUnreachableError) else error.status in PASSING
