from __future__ import annotations

import pytest
from story import a_leg, a_member, a_result, accuracy, queued_job, running_job

from service.errors import ConflictError, NotFoundError
from service.store import EventRecord, Store, Wish


def told(events: tuple[EventRecord, ...]) -> list[str]:
    return [event.kind for event in events]


def test_a_job_s_life_is_told_in_order(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg, a_member(1, end=1, state="diverged")), "f")
    store.stop_trials(job.id, [2])
    store.record_stage_outcome(job.id, 0, {"lr": 0.1})
    store.record_export(job.id, 0, "/bundle")
    store.finish_job(job.id, best_trial=0, result={"x": 1})
    events = store.events(job.id)
    assert told(events) == ["job", "job", "plan", "round", "leg", "rung", "stage", "export", "job"]
    assert [event.number for event in events] == list(range(9))
    assert [event.data["state"] for event in events if event.kind == "job"] == ["queued", "running", "completed"]
    assert events[8].data["best_trial"] == 0
    plan, round_, trained, rung, stage, export = (event.data for event in events[2:8])
    assert plan == {
        "stages": [
            {"number": 0, "name": "lr", "opens": ["lr"]},
            {"number": 1, "name": "dropout, width", "opens": ["dropout", "width"]},
        ],
        "metric": "val_accuracy",
        "mode": "max",
    }
    assert round_ == {"number": 0, "stage": 0, "trials": [0, 1, 2], "rungs": [2, 6]}
    assert trained["key"] == leg.key
    assert trained["members"] == [
        {"trial": 0, "state": "running", "epochs": 2, "value": accuracy(0, 2)},
        {"trial": 1, "state": "diverged", "epochs": 1, "value": accuracy(1, 1)},
        {"trial": 2, "state": "running", "epochs": 2, "value": accuracy(2, 2)},
    ]
    assert rung == {"stopped": [2]}
    assert stage == {"number": 0, "name": "lr", "state": "completed", "outcome": {"lr": 0.1}}
    assert (export["state"], export["path"]) == ("completed", "/bundle")
    found = store.job(job.id)
    assert (found.num_events, found.updated_at) == (9, events[-1].at)


def test_what_is_recorded_again_is_told_once(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    for _ in range(2):
        store.record_leg(job.id, leg, a_result(leg), "f")
        store.stop_trials(job.id, [2])
        store.record_stage_outcome(job.id, 1, {}, skipped=True)
        store.start_job(job.id)
    assert told(store.events(job.id, after=3)) == ["leg", "rung", "stage"]


def test_what_was_refused_is_not_told(store: Store) -> None:
    job = running_job(store)
    before = store.events(job.id)
    with pytest.raises(ConflictError):
        store.stop_trials(job.id, [0])
    with pytest.raises(ConflictError):
        store.record_stage_outcome(job.id, 0, {}, skipped=True)
    assert store.events(job.id) == before
    assert store.job(job.id).num_events == len(before)


def test_events_come_page_by_page(store: Store) -> None:
    job = queued_job(store)
    for _ in range(3):
        store.ask_for(job.id, Wish.PAUSE)
        store.resume_job(job.id)
    seen: list[EventRecord] = []
    while page := store.events(job.id, after=seen[-1].number if seen else -1, limit=3):
        assert len(page) <= 3
        seen += page
    assert tuple(seen) == store.events(job.id)
    assert len(seen) == 7


def test_events_of_many_jobs_are_counted_at_once(store: Store) -> None:
    first, second = queued_job(store), running_job(store)
    assert store.num_events([first.id, second.id, "nothing"]) == {first.id: 1, second.id: 4}
    assert store.num_events([]) == {}


def test_a_job_that_is_not_there_has_no_events(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no job has the id 'nothing'"):
        store.events("nothing")
