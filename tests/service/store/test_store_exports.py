from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from story import running_job

from service.errors import ConflictError, LeaseLostError, NotFoundError
from service.store import Actor, ExportState, JobRecord, Store


def finished_job(store: Store) -> JobRecord:
    job = running_job(store)
    return store.finish_job(job.id, best_trial=1, result={})


def test_a_bundle_that_was_asked_for_is_written_by_a_worker(store: Store) -> None:
    job = finished_job(store)
    asked = store.request_export(job.id, ["onnx", "safetensors"], by=Actor(owner="ann"))
    assert (asked.state, asked.trial, asked.formats) == (ExportState.QUEUED, 1, ("onnx", "safetensors"))
    assert (asked.requested_by, asked.path, asked.ended_at) == ("ann", None, None)
    claimed = store.claim_export(worker="w1")
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.worker, claimed.attempt) == (
        asked.id,
        ExportState.RUNNING,
        "w1",
        1,
    )
    assert store.claim_export(worker="w2") is None
    done = store.finish_export(asked.id, 1, path="/bundles/one")
    assert (done.state, done.path, done.worker) == (ExportState.COMPLETED, Path("/bundles/one"), None)
    assert store.export(job.id, asked.id) == done
    assert store.exports(job.id) == (done,)
    told = [event.data["state"] for event in store.events(job.id) if event.kind == "export"]
    assert told == ["queued", "completed"]
    assert [one.action for one in store.audit(job_id=job.id)] == ["export.request"]


def test_a_bundle_that_failed_says_why(store: Store) -> None:
    asked = store.request_export(finished_job(store).id)
    store.claim_export(worker="w1")
    failed = store.finish_export(asked.id, 1, message="the checkpoint is gone")
    assert (failed.state, failed.path, failed.message) == (ExportState.FAILED, None, "the checkpoint is gone")
    with pytest.raises(LeaseLostError, match=r"which is failed at attempt 1: stop writing it"):
        store.finish_export(asked.id, 1, path="/x")


def test_the_oldest_bundle_is_written_first(store: Store) -> None:
    job = finished_job(store)
    asked = [store.request_export(job.id).id for _ in range(3)]
    claimed = [store.claim_export(worker="w") for _ in range(3)]
    assert [one.id for one in claimed if one] == asked


def test_a_bundle_whose_worker_is_gone_is_claimed_again(store_url: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with Store.open(store_url, clock=lambda: now) as store:
        asked = store.request_export(finished_job(store).id)
        store.claim_export(worker="w1", lease_s=60)
        now += timedelta(seconds=50)
        store.renew_export(asked.id, 1, lease_s=60)
        now += timedelta(seconds=50)
        assert store.claim_export(worker="w2", lease_s=60) is None
        now += timedelta(seconds=50)
        again = store.claim_export(worker="w2", lease_s=60)
        assert again is not None
        assert (again.id, again.worker, again.attempt) == (asked.id, "w2", 2)
        for late in (
            lambda: store.finish_export(asked.id, 1, path="/x"),
            lambda: store.renew_export(asked.id, 1, lease_s=60),
        ):
            with pytest.raises(LeaseLostError, match=r"got attempt 1 of export .* running at attempt 2"):
                late()


def test_a_job_without_a_winner_has_no_bundle(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(ConflictError, match=r"a bundle is of a winner, job .* is running: wait for it"):
        store.request_export(job.id)


def test_a_bundle_is_found_in_its_own_job_alone(store: Store) -> None:
    job, other = finished_job(store), finished_job(store)
    asked = store.request_export(job.id)
    for job_id, export_id in ((other.id, asked.id), (job.id, asked.id + 1)):
        with pytest.raises(NotFoundError, match=f"job {job_id} has no export {export_id}"):
            store.export(job_id, export_id)
    with pytest.raises(NotFoundError, match="no export has the id 99"):
        store.finish_export(99, 1, path="/x")
