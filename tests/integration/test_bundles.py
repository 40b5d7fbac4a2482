"""A bundle loaded in a fresh process predicts from raw rows what the job's test metrics say."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from in_process import Command
from PIL import Image

PEOPLE = Path(__file__).parents[1] / "acceptance" / "people.py"
BUDGET = {"epochs": 24, "max_epochs_per_trial": 6}
RUNGS = {"rungs": {"min_epochs": 2, "reduction_factor": 3}}

# Runs in a process and a folder of its own: the bundle, and raw rows that it has never seen, are all it has.
PREDICT = """
import pickle, sys
from service.export import load_bundle
bundle = load_bundle(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    rows = pickle.load(file)
answer = {"predicted": bundle.predict(rows).tolist(), "scores": bundle.predict_scores(rows).tolist()}
with open(sys.argv[3], "wb") as file:
    pickle.dump(answer, file)
"""


def predict(bundle: Path, rows: Any, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    folder.mkdir(exist_ok=True)
    (folder / "rows.pickle").write_bytes(pickle.dumps(rows))
    command = [sys.executable, "-c", PREDICT, str(bundle), "rows.pickle", "answer.pickle"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    answer: dict[str, Any] = pickle.loads((folder / "answer.pickle").read_bytes())
    return {name: np.asarray(values) for name, values in answer.items()}


Run = Callable[[dict[str, Any]], tuple[dict[str, Any], Path]]


@pytest.fixture
def run(tuneladder: Command, tmp_path: Path) -> Run:
    """Runs a job and exports it elsewhere; gives what it printed and the second bundle."""

    def run(spec: dict[str, Any]) -> tuple[dict[str, Any], Path]:
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"budget": BUDGET, "search": RUNGS} | spec))
        ended = tuneladder("run", "spec.yaml", "--home", "home", "--engine", "local", "--json")
        assert ended.code == 0, ended.err
        assert tuneladder("export", "--home", "home", "--to", "handed-over").code == 0
        return json.loads(ended.out.splitlines()[-1]), tmp_path / "handed-over"

    return run


def table(num_rows: int, seed: int) -> pd.DataFrame:
    """Categories and numbers with missing values; the class follows from both, with some noise."""
    draw = np.random.default_rng(seed)
    colour = draw.choice(["red", "green", "blue"], size=num_rows)
    size = draw.normal(size=num_rows)
    score = size + np.where(colour == "red", 1.5, -0.5) + 0.2 * draw.normal(size=num_rows)
    frame = pd.DataFrame({"colour": colour, "size": size, "flag": draw.random(num_rows) > 0.5})
    frame.loc[draw.random(num_rows) < 0.1, "colour"] = None
    frame.loc[draw.random(num_rows) < 0.1, "size"] = np.nan
    frame["kind"] = np.where(score > 0.3, "over", "under")
    return frame


def test_a_table_with_categories_and_missing_values(run: Run, tmp_path: Path) -> None:
    table(400, seed=1).to_csv(tmp_path / "rows.csv", index=False)
    test = table(150, seed=2)
    test.loc[0, "colour"] = "violet"  # never seen in training
    test.to_csv(tmp_path / "test.csv", index=False)
    result, bundle = run(
        {"family": "mlp", "data": {"csv": "rows.csv", "target": "kind", "test": "test.csv"}},
    )
    raw = pd.read_csv(tmp_path / "test.csv")
    answer = predict(bundle, raw.drop(columns="kind"), tmp_path / "fresh")

    accuracy = float((answer["predicted"] == raw["kind"].to_numpy()).mean())
    assert accuracy == pytest.approx(result["test"]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.75
    assert answer["scores"].shape == (150, 2)
    assert answer["scores"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_texts(run: Run, tmp_path: Path) -> None:
    def lines(num_rows: int, seed: int) -> list[tuple[str, str]]:
        draw = np.random.default_rng(seed)
        words = {"NUM": ["how", "many", "much", "na\u00efve"], "LOC": ["where", "city", "country", "caf\u00e9"]}
        kinds = draw.choice(["NUM", "LOC"], size=num_rows)
        return [(str(k), " ".join(draw.choice([*words[k], "is", "the", "of"], size=6))) for k in kinds]

    for name, rows in (("train.txt", lines(240, 1)), ("test.txt", lines(100, 2))):
        text = "".join(f"{kind}:fine {words}\n" for kind, words in rows)
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    data = {"text": "train.txt", "test": "test.txt", "encoding": "latin-1", "max_vocabulary": 12}
    result, bundle = run({"family": "rnn", "data": data, "model": {"width": 16, "embedding_dim": 8}})
    kinds, texts = zip(*lines(100, 2), strict=True)
    answer = predict(bundle, list(texts), tmp_path / "fresh")

    accuracy = float((answer["predicted"] == np.asarray(kinds)).mean())
    assert accuracy == pytest.approx(result["test"]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.7
    metrics = json.loads((bundle / "metrics.json").read_text())
    known = json.loads((bundle / "bundle.json").read_text())["preprocessing"]["words"]
    words = [word for text in texts for word in text.split()]
    unknown = sum(word not in known for word in words) / len(words)
    assert metrics["test"]["test_unknown_ratio"] == pytest.approx(unknown)
    assert 0 < metrics["validation"]["val_unknown_ratio"] == result["best"]["metrics"]["val_unknown_ratio"] < 0.3


@pytest.mark.parametrize("family", ["rnn", "cnn"])
def test_series_of_any_length(run: Run, tmp_path: Path, family: str) -> None:
    def rising(num_rows: int, seed: int) -> list[tuple[str, np.ndarray[Any, Any]]]:
        draw = np.random.default_rng(seed)
        slopes = draw.choice([-1.0, 1.0], size=num_rows)
        steps = [np.arange(draw.integers(4, 12)) for _ in slopes]
        level = [
            draw.normal(50, 3) + 8 * slope * t + draw.normal(size=len(t))
            for slope, t in zip(slopes, steps, strict=True)
        ]
        noise = [1e4 * draw.normal(size=len(t)) for t in steps]
        kinds = ["up" if slope > 0 else "down" for slope in slopes]
        return [(kind, np.column_stack(x)) for kind, *x in zip(kinds, level, noise, strict=True)]

    for name, rows in (("train.csv", rising(160, 1)), ("test.csv", rising(60, 2))):
        lines = [
            f"{who},{when},{step[0]},{step[1]},{kind}"
            for who, (kind, steps) in enumerate(rows)
            for when, step in enumerate(steps)
        ]
        (tmp_path / name).write_text("\n".join(["who,when,level,noise,kind", *lines]) + "\n")
    data = {"series": "train.csv", "series_id": "who", "time": "when", "target": "kind", "test": "test.csv"}
    result, bundle = run({"family": family, "data": data, "model": {"width": 16}})
    kinds, raw = zip(*rising(60, 2), strict=True)
    answer = predict(bundle, list(raw), tmp_path / "fresh")

    accuracy = float((answer["predicted"] == np.asarray(kinds)).mean())
    assert accuracy == pytest.approx(result["test"]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.9


def test_a_regression_predicts_in_the_unit_of_its_target(run: Run, tmp_path: Path) -> None:
    def rows(num_rows: int, seed: int) -> pd.DataFrame:
        draw = np.random.default_rng(seed)
        frame = pd.DataFrame({"a": draw.normal(size=num_rows), "b": draw.normal(size=num_rows)})
        frame["price"] = 1000 + 200 * frame["a"] - 50 * frame["b"] + draw.normal(size=num_rows)
        return frame

    rows(300, 1).to_parquet(tmp_path / "rows.parquet")
    test = rows(100, 2)
    test.to_parquet(tmp_path / "test.parquet")
    data = {"parquet": "rows.parquet", "target": "price", "test": "test.parquet"}
    result, bundle = run({"family": "mlp", "data": data})
    answer = predict(bundle, test.drop(columns="price"), tmp_path / "fresh")

    error = answer["predicted"] - test["price"].to_numpy()
    assert float(np.sqrt((error**2).mean())) == pytest.approx(result["test"]["test_rmse"], rel=1e-4)
    assert float(np.abs(error).mean()) == pytest.approx(result["test"]["test_mae"], rel=1e-4)
    assert result["metric"] == "val_rmse"
    assert result["test"]["test_rmse"] < 150


def test_images(run: Run, tmp_path: Path) -> None:
    """Digits: the test split's raw images come from the source, which the fresh process never sees."""
    from sklearn.datasets import load_digits

    from lightning_modules.data import BuiltinSource

    spec = {"family": "cnn", "data": {"name": "digits"}, "model": {"width": 8, "stages": 2}}
    result, bundle = run(spec | {"budget": {"epochs": 8, "max_epochs_per_trial": 4}})
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["info"]["image_shape"] == [1, 8, 8]

    raw = load_digits()
    source = BuiltinSource(name="digits")
    test = source.read_test()
    seen = {row.tobytes() for row in test.inputs["image"]}
    from lightning_modules.data import preprocessor_from_dict

    inputs = preprocessor_from_dict(manifest["preprocessing"]).transform(raw.images)["image"]
    chosen = [index for index, row in enumerate(inputs) if row.tobytes() in seen]
    answer = predict(bundle, raw.images[chosen], tmp_path / "fresh")

    accuracy = float((answer["predicted"] == raw.target[chosen].astype(str)).mean())
    assert len(chosen) == len(test)
    assert accuracy == pytest.approx(result["test"]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.8


def test_image_files(run: Run, tmp_path: Path) -> None:
    """Dark left halves or dark right ones, in any size: the fresh process gets paths."""

    def write(folder: str, num_images: int, seed: int) -> list[Path]:
        draw = np.random.default_rng(seed)
        paths = []
        for number in range(num_images):
            height, width = draw.integers(10, 30, size=2)
            pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
            half = slice(None, width // 2) if number % 2 else slice(width // 2, None)
            pixels[:, half] //= 3
            paths.append(tmp_path / folder / ("left" if number % 2 else "right") / f"{number:03}.png")
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(paths[-1])
        return paths

    write("train", 160, 1)
    paths = write("test", 60, 2)
    data = {"images": "train", "test": "test", "image_size": [8, 12], "channels": 1}
    result, bundle = run({"family": "cnn", "data": data, "model": {"width": 8}})
    answer = predict(bundle, paths, tmp_path / "fresh")

    accuracy = float((answer["predicted"] == np.asarray([path.parent.name for path in paths])).mean())
    assert json.loads((bundle / "bundle.json").read_text())["info"]["image_shape"] == [1, 8, 12]
    assert accuracy == pytest.approx(result["test"]["test_accuracy"], abs=1e-6)
    assert accuracy > 0.9


def test_a_person_s_own_module_and_data_module(run: Run, tmp_path: Path) -> None:
    shutil.copy(PEOPLE, tmp_path)
    spec = {
        "family": {"module": "people:Line"},
        "data": {"module": "people:Points", "params": {"num_rows": 90}},
        "objective": {"metric": "val_loss", "mode": "min"},
        "search": RUNGS
        | {"space": {"rate": {"low": 0.01, "high": 0.5, "log": True}, "batch_size": {"choices": [8, 16]}}},
    }
    result, bundle = run(spec)
    from people import Points  # where the command found it

    points = Points(num_rows=90)
    points.setup("test")
    x, y = (np.stack([np.asarray(part) for part in column]) for column in zip(*points.parts[2], strict=True))
    (tmp_path / "fresh").mkdir()
    shutil.copy(PEOPLE, tmp_path / "fresh")
    answer = predict(bundle, x, tmp_path / "fresh")
    assert float(((answer["predicted"] - y) ** 2).mean()) == pytest.approx(result["test"]["test_loss"], rel=1e-4)


def test_a_person_s_own_module_on_built_in_data(run: Run, tmp_path: Path) -> None:
    shutil.copy(PEOPLE, tmp_path)
    spec = {
        "family": {"module": "people:Pixels"},
        "data": {"name": "digits"},
        "objective": {"metric": "val_right", "mode": "max"},
        "search": RUNGS
        | {"space": {"lr": {"low": 1.0e-3, "high": 0.1, "log": True}, "hidden": {"choices": [16, 32]}}},
    }
    result, bundle = run(spec)
    assert result["best"]["metrics"]["val_right"] > 0.7
    assert result["test"]["test_right"] > 0.7
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["family"] == "people:Pixels"
