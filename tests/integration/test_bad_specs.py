"""A bad spec or bad data ends with exit code 2 and one message: field, rule, value, remedy; nothing is left behind."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command

GOOD: dict[str, Any] = {
    "name": "good",
    "family": "mlp",
    "data": {"name": "wine"},
    "budget": {"epochs": 40, "max_epochs_per_trial": 4},
}
TABLE = "colour,size,kind\n" + "".join(f"{'red' if i % 3 else 'blue'},{i}.5,{'ab'[i % 2]}\n" for i in range(40))


def write_table(folder: Path, text: str = TABLE, name: str = "rows.csv") -> None:
    (folder / name).write_text(text)


def write_texts(
    folder: Path, text: str | None = None, *, encoding: str = "utf-8", name: str = "lines.txt"
) -> None:
    text = text or "".join(f"{'NUM' if i % 2 else 'LOC'}:x how many na\u00efve words {i}\n" for i in range(40))
    (folder / name).write_bytes(text.encode(encoding))


def write_idx(folder: Path, *, num_images: int = 40, num_labels: int = 40, magic: int = 0x803) -> None:
    folder.mkdir()
    images = struct.pack(">IIII", magic, num_images, 4, 4) + bytes(range(16)) * num_images
    labels = struct.pack(">II", 0x801, num_labels) + bytes(i % 2 for i in range(num_labels))
    (folder / "train-images-idx3-ubyte").write_bytes(images)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)


def table(**more: Any) -> dict[str, Any]:
    return {"csv": "rows.csv", "target": "kind", **more}


def replaced(**sections: Any) -> dict[str, Any]:
    return GOOD | sections


@dataclass(frozen=True)
class Case:
    """A mistake, and the message that it must lead to."""

    name: str
    message: str  # a pattern: field, rule, value and remedy, in this order
    spec: Any = field(default_factory=lambda: GOOD)
    prepare: Callable[[Path], None] = lambda folder: None
    options: tuple[str, ...] = ()


CASES = [
    # The document.
    Case(
        "an unknown key", r"^bugdet: unknown key 'bugdet': did you mean 'budget'\?", replaced(bugdet={"epochs": 3})
    ),
    Case(
        "an unknown key in a section",
        r"^budget\.max_epoch: unknown key 'max_epoch': did you mean 'max_epochs_per_trial'\?",
        replaced(budget={"max_epoch": 3}),
    ),
    Case(
        "an unknown key in the data section",
        r"^data\.validation_fractoin: unknown key .*did you mean 'validation_fraction'\?",
        replaced(data={"name": "wine", "validation_fractoin": 0.1}),
    ),
    Case(
        "a text for a number",
        r"^budget\.epochs: input should be a valid integer, got '40': change it",
        replaced(budget={"epochs": "40"}),
    ),
    Case("a number for a text", r"^name: .*string, got 3: ", replaced(name=3)),
    Case("a section that is a list", r"^budget: .*got \[1, 2\]: ", replaced(budget=[1, 2])),
    Case("no family", r"^family: is required: add family to the spec", {"data": {"name": "wine"}}),
    Case("no data", r"^data: is required: add data to the spec", {"family": "mlp"}),
    Case(
        "a negative budget",
        r"^budget\.epochs: .*greater than or equal to 1, got -1: ",
        replaced(budget={"epochs": -1}),
    ),
    Case(
        "a bad duration", r"^budget\.wall_clock: .*90s, 30m, 1h30m.*soon", replaced(budget={"wall_clock": "soon"})
    ),
    Case("a wall clock of nothing", r"^budget\.wall_clock: .*greater than 0", replaced(budget={"wall_clock": 0})),
    Case("a seed below zero", r"^seed: .*greater than or equal to 0, got -1", replaced(seed=-1)),
    Case("a name with a slash", r"^name: .*a/b", replaced(name="a/b")),
    Case(
        "not a number",
        r"^early_stopping\.min_delta: .*nan",
        "family: mlp\ndata: {name: wine}\nearly_stopping: {min_delta: .nan}\n",
    ),
    Case("a list as a spec", r"a spec is a mapping.*got list in .*: see examples/", [1, 2]),
    Case("an empty spec", r"a spec is a mapping.*an empty file", ""),
    Case("broken YAML", r"must be YAML or JSON, got: .* at line 2", "family: mlp\ndata: {name: wine\n"),
    Case("a repeated key", r"family.*twice|repeated|duplicate", "family: mlp\nfamily: cnn\ndata: {name: wine}\n"),
    # What stands in it.
    Case(
        "an unknown family",
        r"^family: a family is mlp, cnn, rnn, .*got 'transformer': choose",
        replaced(family="transformer"),
    ),
    Case(
        "an unknown metric",
        r"^objective\.metric: .*'val_acuracy'.*did you mean 'val_accuracy'\?",
        replaced(objective={"metric": "val_acuracy"}),
    ),
    Case(
        "a metric of another task",
        r"^objective\.metric: .*'val_r2' for classification: ",
        replaced(objective={"metric": "val_r2"}),
    ),
    Case(
        "a mode that contradicts the metric",
        r"^objective.*val_accuracy is better when it is higher, got mode 'min': write mode: max",
        replaced(objective={"metric": "val_accuracy", "mode": "min"}),
    ),
    Case("an unknown mode", r"^objective\.mode: .*'min' or 'max', got 'up'", replaced(objective={"mode": "up"})),
    Case(
        "low above high",
        r"^search\.space\.lr: .*low.*high.*0\.1.*0\.001",
        replaced(search={"space": {"lr": {"low": 0.1, "high": 0.001, "log": True}}}),
    ),
    Case(
        "a log scale from zero",
        r"^search\.space\.lr: .*log.*0",
        replaced(search={"space": {"lr": {"low": 0.0, "high": 0.1, "log": True}}}),
    ),
    Case(
        "a range of words", r"^search\.space\.lr.*: .*'tiny'", replaced(search={"space": {"lr": {"low": "tiny"}}})
    ),
    Case(
        "an unknown parameter in the space",
        r"^search\.space\.learning_rate: .*lr",
        replaced(search={"space": {"learning_rate": {"low": 0.1, "high": 1.0}}}),
    ),
    Case(
        "an unknown key of a parameter",
        r"^search\.space\.lr.*: .*'hi'",
        replaced(search={"space": {"lr": {"low": 0.1, "hi": 1.0}}}),
    ),
    Case(
        "a choice that the family does not know",
        r"^search\.space\.activation: .*relu.*'rleu'",
        replaced(search={"space": {"activation": {"choices": ["relu", "rleu"]}}}),
    ),
    Case(
        "a range beyond what the family takes",
        r"^search\.space\.dropout: .*1\.5",
        replaced(search={"space": {"dropout": {"low": 0.0, "high": 1.5}}}),
    ),
    Case("an unknown setting", r"^model\.widht: .*did you mean 'width'", replaced(model={"widht": 3})),
    Case("a setting of another type", r"^model\.width: .*'wide'", replaced(model={"width": "wide"})),
    Case(
        "a parameter both fixed and searched",
        r"^search\.space\.width: .*model and under search\.space: drop one",
        replaced(model={"width": 32}, search={"space": {"width": {"choices": [16, 32]}}}),
    ),
    Case(
        "an unknown parameter in the order",
        r"^search\.order: .*'larning_rate'",
        replaced(search={"order": ["larning_rate"]}),
    ),
    Case(
        "a parameter twice in the order",
        r"^search\.order: .*repeated: lr",
        replaced(search={"order": ["lr", "lr"]}),
    ),
    Case("an empty order", r"^search\.order: ", replaced(search={"order": []})),
    Case("an unknown strategy", r"^search\.strategy: .*got 'grid'", replaced(search={"strategy": "grid"})),
    Case(
        "one that goes on in one",
        r"^search\.rungs\.reduction_factor: .*2, got 1",
        replaced(search={"rungs": {"reduction_factor": 1}}),
    ),
    Case(
        "a first rung behind the last epoch",
        r"search\.rungs\.min_epochs <= budget\.max_epochs_per_trial must hold, got 9 > 4: ",
        replaced(search={"rungs": {"min_epochs": 9}}),
    ),
    Case(
        "a budget too small for one round",
        r"^budget\.epochs: the budget must hold one round of 2 candidates, which is \d+ epochs .*got 5: raise",
        replaced(budget={"epochs": 5, "max_epochs_per_trial": 4}),
    ),
    Case("an unknown export", r"^export\.formats.*: .*got 'pickle'", replaced(export={"formats": ["pickle"]})),
    Case("half a GPU too many", r"^resources\.gpu: .*got 1\.5", replaced(resources={"gpu": 1.5})),
    Case("a negative GPU", r"^resources\.gpu: .*got -1", replaced(resources={"gpu": -1})),
    Case(
        "a GPU where none is",
        r"^resources\.gpu: a GPU must be there.*gpu=1, .*: set resources\.gpu: 0",
        replaced(resources={"gpu": 1}),
    ),
    # A person's own modules.
    Case(
        "a module that cannot be imported",
        r"^family\.module: .*'no_such_package\.models' raises ModuleNotFoundError: .*: check the path",
        replaced(
            family={"module": "no_such_package.models:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}
        ),
    ),
    Case(
        "a module that raises when it is imported",
        r"^family\.module: .*'broken' raises ZeroDivisionError: ",
        replaced(family={"module": "broken:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}),
        lambda folder: (folder / "broken.py").write_text("1 / 0\n") and None,
    ),
    Case(
        "a class that the module does not have",
        r"^family\.module: 'colorsys' must have a class 'Net', it has none: ",
        replaced(family={"module": "colorsys:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}),
    ),
    Case(
        "a class that is no LightningModule",
        r"^family\.module: .*LightningModule.*fractions:Fraction",
        replaced(
            family={"module": "fractions:Fraction"},
            objective={"metric": "val_loss"},
            search={"space": {"lr": {"low": 0.1, "high": 1.0}}},
        ),
    ),
    Case(
        "an import path with no class",
        r"^family\.module: an import path is module and class",
        replaced(family={"module": "net"}),
    ),
    Case(
        "a data module that cannot be imported",
        r"^data\.module: .*'no_such_data' raises ModuleNotFoundError",
        replaced(data={"module": "no_such_data:Data"}),
    ),
    Case(
        "a family of the package on a data module",
        r"^family: mlp takes .* data, got a LightningDataModule: ",
        replaced(data={"module": "pytorch_lightning:LightningDataModule"}),
    ),
    # Data.
    Case(
        "an unknown data set",
        r"^data\.name: .*digits, .*got 'winee': did you mean 'wine'\?",
        replaced(data={"name": "winee"}),
    ),
    Case(
        "a data section with no kind", r"^data: data is given by one of .*got path: ", replaced(data={"path": "x"})
    ),
    Case("a data section that is a text", r"^data: .*'wine'", replaced(data="wine")),
    Case("two kinds of data", r"^data\.", replaced(data={"name": "wine", "csv": "rows.csv"})),
    Case(
        "fractions with no room to train",
        r"^data: .*must stay below 0\.95, got 0\.6 \+ 0\.5: ",
        replaced(data={"name": "wine", "validation_fraction": 0.6, "test_fraction": 0.5}),
    ),
    Case("a missing file", r"^data\.csv: .*absent\.csv.*: check the path", replaced(data=table(csv="absent.csv"))),
    Case(
        "a folder for a file",
        r"^data\.csv: .*is a folder|data\.csv: .*must be a file",
        replaced(data=table(csv=".")),
    ),
    Case("an empty file", r"^data\.csv: .*rows\.csv.*empty", replaced(data=table()), lambda f: write_table(f, "")),
    Case(
        "a table with a header alone",
        r"^data\.csv: .*must have rows",
        replaced(data=table()),
        lambda f: write_table(f, "a,kind\n"),
    ),
    Case(
        "a missing test file", r"^data\.test: .*absent\.csv", replaced(data=table(test="absent.csv")), write_table
    ),
    Case(
        "a test file with other columns",
        r"^data\.test: .*same|^data\.test: the test file must have the training file's columns.*size",
        replaced(data=table(test="test.csv")),
        lambda f: (write_table(f), write_table(f, "colour,kind\nred,a\n", "test.csv")) and None,
    ),
    Case(
        "a test file with an unseen class",
        r"^data\.test: .*'z'",
        replaced(data=table(test="test.csv")),
        lambda f: (write_table(f), write_table(f, "colour,size,kind\nred,1.0,z\n", "test.csv")) and None,
    ),
    Case(
        "an absent target column",
        r"^data\.target: .*must have the column 'knid', it has not: did you mean 'kind'\?",
        replaced(data=table(target="knid")),
        write_table,
    ),
    Case("no target", r"^data\.target: is required", replaced(data={"csv": "rows.csv"}), write_table),
    Case(
        "an absent column to drop",
        r"^data\.drop: .*'sizes'.*did you mean 'size'\?",
        replaced(data=table(drop=["sizes"])),
        write_table,
    ),
    Case(
        "no feature left",
        r"^data\.drop: .*at least one feature",
        replaced(data=table(drop=["size", "colour"])),
        write_table,
    ),
    Case(
        "a class with one example",
        r"^data\.target: every class needs at least 3 examples, .*got 1 of class 'c': ",
        replaced(data=table()),
        lambda f: write_table(f, TABLE + "red,1.5,c\n"),
    ),
    Case(
        "a text among the numbers of a feature",
        r"^data\.categorical: column 'size' must hold numbers in every row or in none.*'big'.*: fix the rows",
        replaced(data=table()),
        lambda f: write_table(f, TABLE + "red,big,a\n"),
    ),
    Case(
        "an infinite feature",
        r"^data\..*'size' must hold finite numbers, got inf",
        replaced(data=table()),
        lambda f: write_table(f, TABLE + "red,inf,a\n"),
    ),
    Case(
        "a row with no target",
        r"^data\.target: every row needs a target",
        replaced(data=table()),
        lambda f: write_table(f, TABLE + "red,1.5,\n"),
    ),
    Case(
        "a ragged row",
        r"^data\.csv: every row needs a value for each of 3 columns, .* has 2 in line 42: ",
        replaced(data=table()),
        lambda f: write_table(f, TABLE + "red,1.5\n"),
    ),
    Case(
        "a table in Latin-1",
        r"^data\.csv: .*must be UTF-8",
        replaced(data=table()),
        lambda f: (f / "rows.csv").write_bytes(TABLE.replace("red", "r\u00f6t").encode("latin-1")) and None,
    ),
    Case(
        "a Parquet file that is none",
        r"^data\.parquet: .*must be Parquet",
        replaced(data={"parquet": "rows.csv", "target": "kind"}),
        write_table,
    ),
    Case(
        "a regression on words",
        r"^data\.target: a regression target is a finite number, got 'a' in row 1",
        replaced(data=table(task="regression")),
        write_table,
    ),
    Case(
        "an unset environment variable in a path",
        r"^data\.csv: environment variables .* must be set, NO_SUCH_FOLDER_IS_SET is not .*: export",
        replaced(data=table(csv="${NO_SUCH_FOLDER_IS_SET}/rows.csv")),
    ),
    Case(
        "a text file in another encoding",
        r"^data\.encoding: .*'utf-8'.*0xef.*try encoding: latin-1",
        replaced(family="rnn", data={"text": "lines.txt"}),
        lambda f: write_texts(f, encoding="latin-1"),
    ),
    Case(
        "an unknown encoding",
        r"^data\.encoding: .*'klingon'",
        replaced(family="rnn", data={"text": "lines.txt", "encoding": "klingon"}),
        write_texts,
    ),
    Case(
        "an empty text file",
        r"^data\.text: .*lines\.txt",
        replaced(family="rnn", data={"text": "lines.txt"}),
        lambda f: write_texts(f, "\n"),
    ),
    Case(
        "a line with no label",
        r"^data\.text: .*line 41 .*has no label",
        replaced(family="rnn", data={"text": "lines.txt"}),
        lambda f: write_texts(f, "".join(f"A x{i % 3}\nB y\n" for i in range(20)) + ": what\n"),
    ),
    Case(
        "a class of texts with one example",
        r"^data\.text: every class needs",
        replaced(family="rnn", data={"text": "lines.txt"}),
        lambda f: write_texts(f, "A x\nA y\nA z\nB q\n"),
    ),
    Case(
        "a missing test file of texts",
        r"^data\.test: .*absent",
        replaced(family="rnn", data={"text": "lines.txt", "test": "absent.txt"}),
        write_texts,
    ),
    Case(
        "a folder of images that is absent",
        r"^data\.idx: .*must exist",
        replaced(family="cnn", data={"idx": "images"}),
    ),
    Case(
        "a folder with no images",
        r"^data\.idx: .*images-idx3-ubyte",
        replaced(family="cnn", data={"idx": "images"}),
        lambda f: (f / "images").mkdir(),
    ),
    Case(
        "fewer labels than images",
        r"^data\.idx: every image needs a label.*40 images.*39",
        replaced(family="cnn", data={"idx": "images"}),
        lambda f: write_idx(f / "images", num_labels=39),
    ),
    Case(
        "a file that is no image file",
        r"^data\.idx: .*magic",
        replaced(family="cnn", data={"idx": "images"}),
        lambda f: write_idx(f / "images", magic=0x99),
    ),
    Case(
        "a convolution on a table", r"^family: cnn takes image.* data, got tabular: choose", replaced(family="cnn")
    ),
    Case(
        "a recurrent network on images",
        r"^family: rnn takes .*, got image: choose",
        replaced(family="rnn", data={"name": "digits"}),
    ),
]


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_mistake_ends_with_one_message_and_leaves_nothing(
    case: Case, command: str, tuneladder: Command, tmp_path: Path
) -> None:
    case.prepare(tmp_path)
    text = case.spec if isinstance(case.spec, str) else yaml.safe_dump(case.spec)
    (tmp_path / "spec.yaml").write_text(text)
    if command == "plan" and "GPU where none" in case.name:
        pytest.skip("a plan asks for no machine")
    before = sorted(tmp_path.rglob("*"))

    options = ["--home", "home", "--engine", "local"] if command == "run" else []
    answer = tuneladder(command, "spec.yaml", *options)

    assert answer.code == 2
    assert answer.out == ""
    assert_one_message(answer.err, case.message)
    left = [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts]
    assert left == before


def assert_one_message(err: str, pattern: str) -> None:
    messages = [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, err
    assert "Traceback" not in err
    assert re.search(pattern, messages[0]), messages[0]
    others = [line for line in err.splitlines() if not line.startswith("error: ")]
    assert all(line.endswith(" ...") for line in others), err
