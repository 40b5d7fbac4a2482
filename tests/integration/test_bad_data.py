"""Bad data end with exit code 2 and one message: field, rule, value, remedy; nothing is left behind."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tenacity
from in_process import Command
from mistakes import Case, check, replaced
from PIL import Image

from lightning_modules.data import download, published

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


def write_images(folder: Path) -> None:
    for number in range(12):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 0, 0)).save(path)


def table(**more: Any) -> dict[str, Any]:
    return {"csv": "rows.csv", "target": "kind", **more}


CASES = [
    Case(
        "an unknown data set",
        r"^data\.name: .*digits, .*, fashion_mnist, got 'winee': choose one",
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
        r"^data\.csv: a file is needed, .* is a folder: name a file in it",
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
        r"^data\.test: the test file must have the training file's columns.*size",
        replaced(data=table(test="test.csv")),
        lambda f: (write_table(f), write_table(f, "colour,kind\nred,a\n", "test.csv")),
    ),
    Case(
        "a test file with an unseen class",
        r"^data\.test: .*'z'",
        replaced(data=table(test="test.csv")),
        lambda f: (write_table(f), write_table(f, "colour,size,kind\nred,1.0,z\n", "test.csv")),
    ),
    Case(
        "a text among the numbers of a test file",
        r"^data\.test: column 'size' must hold numbers as in training, got 'big' in row 1: fix the row",
        replaced(data=table(test="test.csv")),
        lambda f: (write_table(f), write_table(f, "colour,size,kind\nred,big,a\n", "test.csv")),
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
        lambda f: (f / "rows.csv").write_bytes(TABLE.replace("red", "r\u00f6t").encode("latin-1")),
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
        "a folder of classes that is absent",
        r"^data\.images: the folder must exist, .*pictures does not: check the path",
        replaced(family="cnn", data={"images": "pictures"}),
    ),
    Case(
        "a broken image",
        r"^data\.images: the file must be an image, .*pictures/b/3\.png: .*: get it again, or remove it",
        replaced(family="cnn", data={"images": "pictures"}),
        lambda f: (write_images(f / "pictures"), (f / "pictures/b/3.png").write_bytes(b"\x89PNG")),
    ),
    Case(
        "a broken image for the test",
        r"^data\.test: the file must be an image, .*later/a/0\.png",
        replaced(family="cnn", data={"images": "pictures", "test": "later"}),
        lambda f: (
            write_images(f / "pictures"),
            write_images(f / "later"),
            (f / "later/a/0.png").write_bytes(b"none"),
        ),
    ),
    Case(
        "an image size with a missing side",
        r"^data\.image_size: image_size is one number or \[height, width\], .* got \[8\]: change it",
        replaced(family="cnn", data={"images": "pictures", "image_size": [8]}),
    ),
    Case(
        "an image size that is a text",
        r"^data\.image_size: image_size is one number .* got '8': change it",
        replaced(family="cnn", data={"images": "pictures", "image_size": "8"}),
    ),
    Case(
        "four channels",
        r"^data\.channels: input should be 1 or 3, got 4",
        replaced(family="cnn", data={"images": "pictures", "channels": 4}),
    ),
    Case(
        "more images than the disk holds",
        r"^data\.memory_limit_gib: .* 1\.34e\+05 GiB are needed .* GiB are free: make room, .* lower image_size",
        replaced(family="cnn", data={"images": "pictures", "image_size": 1_000_000, "memory_limit_gib": 2}),
        lambda f: write_images(f / "pictures"),
    ),
    Case(
        "series that are absent",
        r"^data\.npz: .*absent\.npz.*: check the path",
        replaced(family="rnn", data={"npz": "absent.npz"}),
    ),
    Case(
        "series of another shape",
        r"^data\.npz: x is numbers of shape \(N, T, C\), .* has float64 of shape \(8, 3\): .*x\[:, :, None\]",
        replaced(family="rnn", data={"npz": "series.npz"}),
        lambda f: np.savez(f / "series.npz", x=np.ones((8, 3)), y=np.arange(8) % 2),
    ),
    Case(
        "a length beyond a series' end",
        r"^data\.test: 1 <= lengths <= 3 must hold, .* has lengths\[0\] = 9: correct it",
        replaced(family="rnn", data={"npz": "series.npz", "test": "test.npz"}),
        lambda f: (
            np.savez(f / "series.npz", x=np.ones((8, 3, 1)), y=np.arange(8) % 2),
            np.savez(f / "test.npz", x=np.ones((8, 3, 1)), y=np.arange(8) % 2, lengths=np.full(8, 9)),
        ),
    ),
    Case(
        "series with no id",
        r"^data\.series_id: is required",
        replaced(family="rnn", data={"series": "lines.csv", "target": "kind"}),
    ),
    Case(
        "a series with two targets",
        r"^data\.target: a series has one target in all of its lines, series '1' has a and in row 4 b: write",
        replaced(family="rnn", data={"series": "lines.csv", "series_id": "who", "target": "kind"}),
        lambda f: write_table(f, "who,level,kind\n0,1.5,b\n1,2.5,a\n0,2.5,b\n1,3.5,b\n", "lines.csv"),
    ),
    Case(
        "a key of another kind of data",
        r"^data\.target: unknown key 'target': ",
        replaced(family="rnn", data={"npz": "series.npz", "target": "kind"}),
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


def test_a_set_that_cannot_be_downloaded_says_which_files_to_put_where(
    tuneladder: Command, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("TUNELADDER_DATA", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_WAIT", tenacity.wait_none())
    with socket.socket() as taken:  # nobody listens here
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        offline = {name: replace(known, mirrors=(nowhere,)) for name, known in published.PUBLISHED_SETS.items()}
        monkeypatch.setattr(published, "PUBLISHED_SETS", offline)
        message = (
            r"^data\.name: the files are downloaded once, and no mirror gives train-images-idx3.* refused"
            rf".*: connect to the internet, or put these into {folder}/mnist: train-images.*, t10k-labels.*\.gz "
        )
        check(Case("no network", message, replaced(family="cnn", data={"name": "mnist"})), tuneladder, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_mistake_in_data_ends_with_one_message_and_leaves_nothing(
    case: Case, tuneladder: Command, tmp_path: Path
) -> None:
    check(case, tuneladder, tmp_path)
