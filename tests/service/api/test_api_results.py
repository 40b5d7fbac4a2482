"""Stages, trials, the winner, bundles."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from api_parts import BUNDLE_FILES, Asks, a_job, finished_job, problem_of, running_job

from service.api import schemas
from service.api.bundles import BundleArchive
from service.api.problems import ProblemError
from service.store import Store


def test_stages_trials_and_measurements_are_shown(ask: Asks, store: Store) -> None:
    job = running_job(store, num_trials=3)
    path = f"/v1/jobs/{job.id}"
    stages = schemas.Page[schemas.Stage].model_validate(ask("ann", "GET", f"{path}/stages").json())
    assert [(stage.number, stage.opens) for stage in stages.items] == [(0, ["lr"]), (1, ["width"])]
    brief = schemas.Page[schemas.Trial].model_validate(ask("ann", "GET", f"{path}/trials").json())
    assert [trial.number for trial in brief.items] == [0, 1, 2]
    assert brief.items[1].metrics == {"val_accuracy": pytest.approx(0.89), "val_loss": None}
    assert brief.items[1].measurements is brief.items[1].health is None
    whole = ask("ann", "GET", f"{path}/trials", params={"measurements": "true"}).json()["items"][1]
    assert [m["epoch"] for m in whole["measurements"]] == [1, 2, 3, 4]
    assert "health/dead_share/0" in whole["measurements"][0]["metrics"]
    assert any("dead" in complaint for complaint in whole["health"])
    assert ask("ann", "GET", f"{path}/trials/1").json() == whole
    assert problem_of(ask("ann", "GET", f"{path}/trials/3"))["code"] == "not_found"


def test_trials_come_in_pages(ask: Asks, store: Store) -> None:
    job = running_job(store, num_trials=7)
    numbers: list[int] = []
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = ask("ann", "GET", f"/v1/jobs/{job.id}/trials", params=params).json()
        numbers += [trial["number"] for trial in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert numbers == list(range(7))
    refused = ask("ann", "GET", f"/v1/jobs/{job.id}/trials", params={"cursor": "x"})
    assert problem_of(refused)["field"] == "query.cursor"


def test_a_winner_is_shown_once_there_is_one(ask: Asks, store: Store, home: Path) -> None:
    waiting, done = a_job(store), finished_job(store, home)
    problem = problem_of(ask("ann", "GET", f"/v1/jobs/{waiting.id}/best"))
    assert (problem["code"], "queued" in problem["detail"]) == ("conflict", True)
    best = schemas.Best.model_validate(ask("ann", "GET", f"/v1/jobs/{done.id}/best").json())
    assert (best.number, best.params, best.test) == (0, {"lr": 0.1}, {"test_accuracy": 0.8})


def test_where_files_lie_on_the_server_is_not_told(ask: Asks, store: Store, home: Path) -> None:
    job = finished_job(store, home)
    for path in ("", "/events", "/exports", "/best", "/trials"):
        assert str(home) not in ask("root", "GET", f"/v1/jobs/{job.id}{path}").text


def test_a_bundle_is_asked_for_and_a_worker_finds_it(ask: Asks, store: Store, home: Path) -> None:
    job = finished_job(store, home)
    response = ask("ann", "POST", f"/v1/jobs/{job.id}/exports", json={"formats": ["safetensors"]})
    assert response.status_code == 202
    export = schemas.BundleExport.model_validate(response.json())
    assert (export.state, export.formats, export.requested_by) == ("queued", ["safetensors"], "ann")
    shown = ask("ann", "GET", response.headers["location"])
    assert shown.json() == response.json()
    too_early = ask("ann", "GET", f"{response.headers['location']}/bundle")
    assert problem_of(too_early)["code"] == "conflict"
    claimed = store.claim_export(worker="w")
    assert claimed is not None
    assert claimed.id == export.id
    store.finish_export(claimed.id, claimed.attempt, message="no space left")
    failed = ask("ann", "GET", shown.request.url.path).json()
    assert (failed["state"], failed["message"]) == ("failed", "no space left")
    listed = schemas.Page[schemas.BundleExport].model_validate(
        ask("ann", "GET", f"/v1/jobs/{job.id}/exports").json()
    )
    assert [item.state for item in listed.items] == ["completed", "failed"]
    # The latest one that is there.
    assert ask("ann", "GET", f"/v1/jobs/{job.id}/bundle").status_code == 200


def test_an_export_without_a_body_is_as_the_spec_says(ask: Asks, store: Store, home: Path) -> None:
    job = finished_job(store, home)
    response = ask("ann", "POST", f"/v1/jobs/{job.id}/exports")
    assert (response.status_code, response.json()["formats"]) == (202, None)
    refused = ask("ann", "POST", f"/v1/jobs/{job.id}/exports", json={"formats": ["onnx"]})
    assert problem_of(refused)["field"] == "body.formats.0"
    early = ask("ann", "POST", f"/v1/jobs/{a_job(store).id}/exports", json={})
    assert problem_of(early)["code"] == "conflict"


def test_a_bundle_arrives_whole_and_the_same_each_time(ask: Asks, store: Store, home: Path) -> None:
    job = finished_job(store, home)
    first = ask("ann", "GET", f"/v1/jobs/{job.id}/bundle")
    for path in (home / "bundles" / job.id).iterdir():
        path.touch()
    export = store.exports(job.id)[0].id
    assert ask("ann", "GET", f"/v1/jobs/{job.id}/exports/{export}/bundle").content == first.content
    assert first.headers["content-type"] == "application/gzip"
    assert first.headers["content-disposition"] == f'attachment; filename="digits-{job.id}.tar.gz"'
    with tarfile.open(fileobj=io.BytesIO(first.content), mode="r:gz") as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert found == {f"digits-{job.id}/{name}": content for name, content in BUNDLE_FILES.items()}


def test_a_bundle_that_is_gone_or_elsewhere_is_not_sent(
    ask: Asks, store: Store, home: Path, tmp_path: Path
) -> None:
    job = finished_job(store, home)
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "key.pem").write_text("-----BEGIN")
    bundles = home / "bundles"
    (bundles / "link").symlink_to(outside)
    for path in (outside, bundles / "link", bundles / ".." / ".." / "secret", bundles, bundles / "nowhere"):
        export = store.record_export(job.id, 0, str(path))
        response = ask("ann", "GET", f"/v1/jobs/{job.id}/exports/{export.id}/bundle")
        assert problem_of(response)["code"] == "not_found"
        assert str(path) not in response.text


def test_a_bundle_s_links_are_left_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    bundle = tmp_path / "bundles" / "b"
    (bundle / "folder").mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    (bundle / "checkpoint.ckpt").symlink_to(secret)
    archive = BundleArchive(bundle, below=tmp_path / "bundles", name="b")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(b"".join(archive)))) as opened:
        assert opened.getnames() == ["b/bundle.json"]
    archive.close()
    with pytest.raises(ProblemError, match="not there any more"):
        BundleArchive(tmp_path / "bundles-too", below=tmp_path / "bundles", name="b")


def test_a_bundle_that_is_replaced_while_it_is_sent_arrives_as_it_was(tmp_path: Path) -> None:
    bundle = tmp_path / "bundles" / "b"
    bundle.mkdir(parents=True)
    content = bytes(range(256)) * 10_000
    (bundle / "checkpoint.ckpt").write_bytes(content)
    archive = BundleArchive(bundle, below=tmp_path / "bundles", name="b")
    pieces = iter(archive)
    first = next(pieces)
    (bundle / "checkpoint.ckpt").unlink()
    (bundle / "checkpoint.ckpt").write_bytes(b"new")
    with tarfile.open(fileobj=io.BytesIO(first + b"".join(pieces)), mode="r:gz") as opened:
        member = opened.extractfile("b/checkpoint.ckpt")
        assert member is not None
        assert member.read() == content
    archive.close()
