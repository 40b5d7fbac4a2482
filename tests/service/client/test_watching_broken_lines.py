"""A watch whose connection breaks: nothing is missed, nothing comes twice, and it ends when the job does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from odd_servers import Answer, ok, problem, serve
from test_transport import JOB, TOKEN

from service.client import (
    ApiAccessError,
    Client,
    JobEvent,
    LegEvent,
    NotTuneladderError,
    OtherEvent,
    ServerUnreachableError,
)

AT = "2026-11-21T12:00:00Z"


def event(number: int, kind: str, **data: Any) -> bytes:
    body = json.dumps({"number": number, "at": AT, "kind": kind, "data": data})
    return f"id: {number}\nevent: {kind}\ndata: {body}\n\n".encode()


def job(number: int, state: str) -> bytes:
    return event(number, "job", state=state, message=None, priority=0)


LEG = event(
    2, "leg", key="r0", start_epoch=0, end_epoch=2, members=[{"trial": 0, "state": "running", "epochs": 2}]
)


def stream(*parts: bytes, cut: bool = False) -> Answer:
    return Answer(200, b": hello\n\n" + b"".join(parts), "text/event-stream; charset=utf-8", cut=cut)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.watching.FIRST_PAUSE_S", 0.01)


def test_a_watch_goes_on_behind_the_last_event_that_it_has_seen() -> None:
    away = Answer(silent=True), problem(429, "rate_limited", "too many watchers", Retry_After="0")
    said: list[str] = []
    with (
        serve(
            stream(job(0, "queued"), job(1, "running")),  # the server starts anew
            *away,
            stream(LEG, event(3, "job")[:20], cut=True),  # the line breaks within an event
            stream(LEG, event(3, "news", text="from later versions"), job(4, "completed")),
        ) as server
    ):
        events = list(Client(server.url, TOKEN).watch("0198", say=said.append))
    assert [e.number for e in events] == [0, 1, 2, 3, 4]
    assert isinstance(events[2], LegEvent)
    assert (events[2].data.members[0].epochs, type(events[3])) == (2, OtherEvent)
    assert isinstance(events[4], JobEvent)
    assert [r.headers.get("last-event-id") for r in server.requests] == [None, "1", "1", "1", "2"]
    assert {r.headers["accept"].partition(",")[0] for r in server.requests} == {"text/event-stream"}
    assert len(said) == 4
    assert all(text.endswith("; trying again") for text in said)


def test_an_earlier_end_of_a_job_that_was_resumed_is_not_its_end() -> None:
    with serve(stream(job(0, "queued"), job(1, "failed"), job(2, "queued"), job(3, "cancelled"))) as server:
        assert [e.number for e in Client(server.url).watch("0198")] == [0, 1, 2, 3]
    assert len(server.requests) == 1


def test_a_watch_behind_the_last_event_of_a_job_that_is_over_ends() -> None:
    with serve(stream(), ok(JOB | {"state": "completed"})) as server:
        assert list(Client(server.url).watch("0198", after=7)) == []
    assert server.requests[0].headers["last-event-id"] == "7"


def test_a_watch_gives_up_when_a_server_stays_away() -> None:
    with serve(Answer(silent=True)) as server, pytest.raises(ServerUnreachableError, match="broke off"):
        list(Client(server.url).watch("0198", patience_s=0.1))
    assert len(server.requests) > 1


def test_a_watch_ends_at_once_where_trying_again_helps_nothing() -> None:
    with serve(problem(401, "unauthorized", "no")) as server, pytest.raises(ApiAccessError):
        list(Client(server.url, TOKEN).watch("0198"))
    with serve(Answer(200, b"<html>", "text/html")) as other, pytest.raises(NotTuneladderError):
        list(Client(other.url).watch("0198"))
    assert len(server.requests) == len(other.requests) == 1


def test_waiting_ends_with_the_job_or_with_its_time() -> None:
    with serve(ok(JOB), ok(JOB | {"state": "running"}), ok(JOB | {"state": "failed"})) as server:
        assert Client(server.url).wait("0198", poll_s=0.01).state == "failed"
    assert len(server.requests) == 3
    with serve(ok(JOB)) as server, pytest.raises(TimeoutError, match=r"job 0198abcd is queued after 0\.05 s"):
        Client(server.url).wait("0198", timeout_s=0.05, poll_s=0.01)
