from __future__ import annotations

import pytest
from story import running_job

from service.errors import ConflictError
from service.legs import Leg, LegResult, Member, MemberResult
from service.store import Store

LEG = Leg(
    key="overfit-0", members=(Member(number=0, params={}, seed=1),), start_epoch=0, end_epoch=0, kind="overfit"
)


def result(message: str | None = None) -> LegResult:
    report = None if message else {"outcome": "passed", "attempts": [{"first_loss": None}]}
    member = MemberResult(number=0, state="failed" if message else "completed", report=report, message=message)
    return LegResult(key=LEG.key, members=(member,), slot=1, wall_s=0.5)


@pytest.mark.parametrize("message", [None, "it raised"])
def test_a_probe_is_answered_as_it_was_recorded(store: Store, message: str | None) -> None:
    job = running_job(store)
    assert store.probe(job.id, LEG.key, "f") is None
    recorded = store.record_probe(job.id, LEG, result(message), "f")
    assert store.probe(job.id, LEG.key, "f") == recorded
    assert store.probes(job.id) == (recorded,)
    assert (recorded.kind, recorded.slot, recorded.message) == ("overfit", 1, message)
    assert recorded.report == result(message).members[0].report


def test_a_probe_with_other_inputs_is_refused(store: Store) -> None:
    job = running_job(store)
    store.record_probe(job.id, LEG, result(), "f")
    with pytest.raises(ConflictError, match=r"got others for overfit-0 .*another version"):
        store.probe(job.id, LEG.key, "g")


def test_a_probe_is_recorded_once_and_for_a_running_job(store: Store) -> None:
    job = running_job(store)
    store.record_probe(job.id, LEG, result(), "f")
    with pytest.raises(ConflictError, match="recorded once, for a running job"):
        store.record_probe(job.id, LEG, result(), "f")
    store.pause_job(job.id)
    with pytest.raises(ConflictError, match="which is paused"):
        store.record_probe(job.id, LEG, result(), "f")
