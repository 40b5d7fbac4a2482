"""Jobs that start from an earlier job's bundle: what they share with it, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine

from service.catalog import resolve
from service.documents import parse_spec
from service.embedded import run_job
from service.engine.local import LocalEngine
from service.errors import ConflictError, InvalidSpecError
from service.export import load_bundle
from service.home import Home
from service.legs import Leg, LegResult
from service.seats import RunOptions
from service.store import JobState, Store

LOCAL = RunOptions(engine="local")
BUDGET = {"epochs": 8, "max_epochs_per_trial": 4}


def write_wine(path: Path, *, kinds: tuple[int, ...], names: str = "abc") -> Path:
    frame = load_wine(as_frame=True).frame
    frame = frame[frame["target"].isin(kinds)]
    frame.assign(target=[names[kind] for kind in frame["target"]]).to_csv(path, index=False)
    return path


def train_bundle(folder: Path, *, seed: int = 0) -> Path:
    body: dict[str, Any] = {
        "family": "mlp",
        "data": {"csv": str(write_wine(folder / "wine.csv", kinds=(0, 1, 2))), "target": "target"},
        "model": {"width": 32, "depth": 1},
        "budget": BUDGET,
        "seed": seed,
    }
    job = run_job(parse_spec(body), home=folder / "home", options=LOCAL)
    assert job.result is not None
    return Path(job.result["bundle"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_bundle(tmp_path_factory.mktemp("first"))


def body_of(bundle: Path, csv: Path, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "family": "mlp",
        "data": {"csv": str(csv), "target": "target"},
        "model": {"start_from": str(bundle)},
        "budget": BUDGET,
    }
    return body | changes


@pytest.fixture
def wine(tmp_path: Path) -> Path:
    return write_wine(tmp_path / "two.csv", kinds=(0, 1, 2), names="xyz")


def test_a_job_starts_from_the_bundles_network_and_says_so(bundle: Path, wine: Path, tmp_path: Path) -> None:
    spec = parse_spec(body_of(bundle, wine, model={"start_from": str(bundle), "freeze_epochs": 99}))
    job = run_job(spec, home=tmp_path / "home", options=LOCAL)
    assert job.result is not None
    assert not {"width", "depth", "norm", "activation"} & set(job.result["best"]["params"])
    before, after = load_bundle(bundle), load_bundle(job.result["bundle"])
    assert (after.settings["width"], after.settings["depth"]) == (32, 1)
    ours, theirs = after.network.state_dict(), before.network.state_dict()
    body = [name for name in theirs if not name.startswith("output.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in body)  # frozen to the end
    assert not torch.equal(ours["output.weight"], theirs["output.weight"])
    assert after.lineage["start_from"]["path"] == str(bundle)
    assert before.lineage["start_from"] is None
    assert set(after.predict(pd.read_csv(wine).drop(columns="target"))) <= set("xyz")


def test_a_relative_path_starts_at_the_specs_folder(bundle: Path, wine: Path) -> None:
    spec = parse_spec(body_of(Path(bundle.name), wine), folder=bundle.parent)
    assert spec.model["start_from"] == str(bundle)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"model": {"width": 64}}, "model.width", "must be the bundle's, 32, .* got 64: leave it out"),
        ({"search": {"space": {"width": {"choices": [16, 32]}}}}, "search.space.width", "is the bundle's, 32"),
        ({"family": "cnn"}, "model.start_from", "its own family, cnn, got one of mlp"),
        ({"data": {"name": "breast_cancer"}}, "model.start_from", "must have the columns and categories"),
        ({"data": {"name": "digits"}}, "model.start_from", "must have the columns and categories"),
        ({"model": {"start_from": "/nowhere"}}, "model.start_from", "a bundle is a folder with bundle.json"),
        ({"model": {"start_from": None, "freeze_epochs": 2}}, "model.freeze_epochs", "give model.start_from"),
        ({"model": {"loaded_lr_factor": 2.0}}, "model.loaded_lr_factor", "loaded_lr_factor <= 1.0 must hold"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    bundle: Path, wine: Path, changes: dict[str, Any], field: str, message: str
) -> None:
    model = {"start_from": str(bundle), **changes.pop("model", {})}
    with pytest.raises(InvalidSpecError, match=message) as caught:
        resolve(parse_spec(body_of(bundle, wine, **changes, model=model)))
    assert caught.value.field == field


def test_a_bundle_with_a_changed_file_is_refused(bundle: Path, wine: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "checkpoint.ckpt").write_bytes(b"other")
    with pytest.raises(InvalidSpecError, match=r"checkpoint\.ckpt is changed"):
        resolve(parse_spec(body_of(copy, wine)))


class InterruptedEngine(LocalEngine):
    """Ctrl-C at the first leg of trials."""

    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        if any(leg.kind == "train" for leg in legs):
            raise KeyboardInterrupt
        return super().run(legs)


def test_a_job_does_not_go_on_from_another_bundle(
    bundle: Path, wine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    spec = parse_spec(body_of(place, wine))
    with monkeypatch.context() as patch:
        patch.setattr("service.engine.local.LocalEngine", InterruptedEngine)
        with pytest.raises(KeyboardInterrupt):
            run_job(spec, home=tmp_path / "home", options=LOCAL)
    shutil.rmtree(place)
    (tmp_path / "other").mkdir()
    shutil.copytree(train_bundle(tmp_path / "other", seed=7), place)
    with pytest.raises(ConflictError, match="another bundle"):
        run_job(spec, home=tmp_path / "home", options=LOCAL)
    shutil.rmtree(place)
    shutil.copytree(bundle, place)
    assert run_job(spec, home=tmp_path / "home", options=LOCAL).state is JobState.COMPLETED
    with Store.open(Home(tmp_path / "home").store_url()) as store:
        assert len(store.jobs()) == 1
