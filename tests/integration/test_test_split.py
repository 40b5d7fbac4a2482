"""The test split is read once in a job's life, for its winner, and nothing else can reach it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_modules.data import DataSource, Split, TrainingData
from service import catalog, job_run
from service.documents import parse_spec
from service.embedded import run_job
from service.errors import ConflictError, JobFailedError
from service.exports import export_again
from service.home import Home
from service.seats import RunOptions
from service.spec import Spec
from service.store import Store

LOCAL = RunOptions(engine="local")
BUDGET = {"epochs": 8, "max_epochs_per_trial": 2}
COLOURS = ("red", "green", "blue", "")


def table(folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    lines = ["colour,size,weight,kind"]
    for _ in range(120):
        size = draw.normal()
        lines.append(f"{draw.choice(COLOURS)},{size:.6f},{draw.normal():.6f},{'ab'[int(size > 0)]}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return {"csv": "rows.csv", "target": "kind"}


def texts(folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    lines = [f"{'AB'[i % 2]} {' '.join(draw.choice(words, size=7))}" for i in range(120)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    return {"text": "lines.txt"}


def series(folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    lines = ["who,when,level,speed,kind"]
    for who in range(90):
        for when in range(draw.integers(3, 8)):
            lines.append(f"s{who},{when},{draw.normal():.6f},{draw.normal():.6f},{'ab'[who % 2]}")
    (folder / "series.csv").write_text("\n".join(lines) + "\n")
    return {"series": "series.csv", "series_id": "who", "time": "when", "target": "kind"}


def arrays(folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    lengths = draw.integers(4, 9, size=90)
    np.savez(folder / "series.npz", x=draw.normal(size=(90, 8, 2)), y=draw.normal(size=90), lengths=lengths)
    return {"npz": "series.npz"}


def images(folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    for number in range(90):
        path = folder / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    return {"images": "images", "image_size": 8}


DATA = {
    "digits": ("mlp", lambda folder: {"name": "digits"}),
    "diabetes": ("mlp", lambda folder: {"name": "diabetes"}),
    "table": ("mlp", table),
    "texts": ("rnn", texts),
    "images": ("cnn", images),
    "series": ("rnn", series),
    "arrays": ("cnn", arrays),
}


@pytest.fixture(params=list(DATA))
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> Spec:
    family, data = DATA[request.param]
    return parse_spec({"family": family, "data": data(tmp_path), "budget": BUDGET}, folder=tmp_path)


def rows_of(split: Split) -> set[bytes]:
    """Each row of a split, its inputs joined, as bytes; the target is left out, as another row may share it."""
    names = sorted(split.inputs)
    return {b"|".join(split.inputs[name][row].tobytes() for name in names) for row in range(len(split))}


def arrays_in(value: Any, seen: set[int]) -> Iterator[np.ndarray[Any, Any]]:
    """Every array that an object holds, however deep."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from arrays_in(part, seen)
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from arrays_in(part, seen)
    elif hasattr(value, "__dict__"):
        yield from arrays_in(vars(value), seen)


@dataclass
class Spy(DataSource):
    """A source that says how often its test split was read, and passes everything on."""

    source: DataSource
    num_test_reads: int = 0
    forbidden: bool = False
    training: list[TrainingData] = field(default_factory=list)

    def read_training(self) -> TrainingData:
        self.training.append(self.source.read_training())
        return self.training[-1]

    def read_test(self) -> Split:
        assert not self.forbidden, "the test split is read again"
        self.num_test_reads += 1
        return self.source.read_test()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> list[Spy]:
    """Every source that is made from now on, watched."""
    spies: list[Spy] = []
    make = catalog.make_source

    def watched(spec: Spec) -> Spy:
        spies.append(Spy(make(spec), forbidden=any(s.forbidden for s in spies)))
        return spies[-1]

    monkeypatch.setattr(catalog, "make_source", watched)
    return spies


def test_nothing_that_travels_to_an_engine_holds_a_row_of_the_test_split(spec: Spec) -> None:
    from service.context import leg_context
    from service.plans import plan_job

    job = catalog.resolve(spec)
    assert job.source is not None
    assert job.data is not None
    context = leg_context(job, plan_job(job))
    test = job.source.read_test()

    travelled = pickle.loads(pickle.dumps(context))
    arrays = list(arrays_in(travelled, set()))
    known = [array for split in (job.data.train, job.data.validation) for array in split.inputs.values()]
    known += [job.data.train.target, job.data.validation.target]
    # Everything that travelled is of the two splits: nothing else is hidden somewhere.
    assert len(arrays) == len(known)
    assert all(any(np.array_equal(array, other) for other in known) for array in arrays)
    # Both are cut from other rows than the test split.
    train, validation = rows_of(travelled.data.train), rows_of(travelled.data.validation)
    num_rows = len(job.data.train) + len(job.data.validation) + len(test)
    assert not rows_of(test) & (train | validation)
    assert len(train) + len(validation) + len(rows_of(test)) == num_rows


def test_the_test_split_is_read_once_in_a_job_and_never_again(spec: Spec, spy: list[Spy], tmp_path: Path) -> None:
    home = tmp_path / "home"
    job = run_job(spec, home=home, options=LOCAL)
    assert sum(s.num_test_reads for s in spy) == 1
    spy[-1].forbidden = True

    assert run_job(spec, home=home, options=LOCAL) == job
    with Store.open(Home(home).store_url()) as store:
        export_again(store, job, home=home, to=tmp_path / "again")
        read = store.test_read(job.id)
        assert read is not None
        for trial in range(job.result["num_trials"]):  # type: ignore[index]
            with pytest.raises(ConflictError, match="the test split is read once in a job, for its winner"):
                store.claim_test_read(job.id, trial)
        with pytest.raises(ConflictError, match="the test split is read once"):
            store.record_test_metrics(job.id, {"test_accuracy": 1.0})
        assert store.test_read(job.id) == read
    assert sum(s.num_test_reads for s in spy) == 1


def test_a_job_that_dies_behind_the_test_takes_the_answer_on_record(
    spy: list[Spy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse_spec({"family": "mlp", "data": {"name": "wine"}, "budget": BUDGET})
    home = tmp_path / "home"

    def die(*arguments: Any, **more: Any) -> Path:
        raise SystemExit("the machine was switched off")

    with monkeypatch.context() as patch:
        patch.setattr(job_run, "export_trial", die)
        with pytest.raises(SystemExit):
            run_job(spec, home=home, options=LOCAL)
    assert sum(s.num_test_reads for s in spy) == 1
    with Store.open(Home(home).store_url()) as store:
        job = store.jobs()[0]
        read = store.test_read(job.id)
    assert read is not None
    spy[-1].forbidden = True

    ended = run_job(spec, home=home, options=LOCAL)

    assert ended.id == job.id
    assert ended.result is not None
    assert ended.result["test"] == read.metrics


BROKEN = """
import pytorch_lightning as pl

class Broken(pl.LightningModule):
    def __init__(self, lr):
        raise RuntimeError(f"no network today, whatever lr={lr:.0f}")
"""


def test_a_job_that_fails_reads_no_test_split(
    spy: list[Spy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_network.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    spec = parse_spec(
        {
            "family": {"module": "broken_network:Broken"},
            "data": {"name": "wine"},
            "objective": {"metric": "val_loss"},
            "search": {"space": {"lr": {"low": 1, "high": 9}}},
        }
    )
    with pytest.raises(JobFailedError, match=r"no trial gave a finite val_loss \(\d failed\); .*no network today"):
        run_job(spec, home=tmp_path / "home", options=LOCAL)
    assert sum(s.num_test_reads for s in spy) == 0
