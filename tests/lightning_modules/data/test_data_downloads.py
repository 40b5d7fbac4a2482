"""Published sets: fetched once from mirrors on this machine, checked, and kept."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tenacity
from http_mirrors import Mirror, serve

from lightning_modules.data import (
    PUBLISHED_SETS,
    PublishedSource,
    download,
    preprocessor_from_dict,
    published,
    read_idx,
)
from lightning_modules.data.download import data_folder, fetch_files
from lightning_modules.data.files import RemoteFile
from lightning_modules.data.published import PublishedSet
from lightning_modules.errors import DataError

DATA = Path(os.environ.get("TUNELADDER_DATA", Path(__file__).parents[3] / "../shared/data"))
CONTENT = gzip.compress(b"what was published" * 1000, mtime=0) * 200  # more than one piece


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


FILE = RemoteFile(name="train.gz", md5=_md5(CONTENT))


@pytest.fixture(autouse=True)
def _no_waiting_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_WAIT", tenacity.wait_none())


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serve() as mirror:
        mirror.files["train.gz"] = CONTENT
        yield mirror


@pytest.fixture
def other() -> Iterator[Mirror]:
    with serve() as mirror:
        mirror.files["train.gz"] = CONTENT
        yield mirror


def _fetch(folder: Path, *mirrors: Mirror) -> Path:
    return fetch_files([FILE], mirrors=[mirror.address for mirror in mirrors], folder=folder, field="name")[0]


def _left(folder: Path) -> list[str]:
    """Everything in the folder but locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_as_it_is_and_only_once(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "deep/folder"
    for _ in range(2):
        path = _fetch(folder, mirror)
        assert path.read_bytes() == CONTENT
    assert mirror.requests["train.gz"] == 1
    assert _left(folder) == ["train.gz"]


def test_a_file_that_is_there_needs_no_mirror(tmp_path: Path) -> None:
    (tmp_path / "train.gz").write_bytes(CONTENT)
    assert _fetch(tmp_path) == tmp_path / "train.gz"
    assert _left(tmp_path) == ["train.gz"]


def test_a_mirror_that_is_overloaded_is_asked_again(mirror: Mirror, other: Mirror, tmp_path: Path) -> None:
    mirror.failures["train.gz"] = 2
    assert _fetch(tmp_path, mirror, other).read_bytes() == CONTENT
    assert (mirror.requests["train.gz"], other.requests["train.gz"]) == (3, 0)


def test_a_mirror_that_stays_overloaded_gives_way_to_the_next(
    mirror: Mirror, other: Mirror, tmp_path: Path
) -> None:
    mirror.failures["train.gz"] = 99
    assert _fetch(tmp_path, mirror, other).read_bytes() == CONTENT
    assert (mirror.requests["train.gz"], other.requests["train.gz"]) == (3, 1)


@pytest.mark.parametrize("content", [None, b"a page that says hello"], ids=["not found", "another file"])
def test_a_mirror_without_the_file_is_asked_once(
    content: bytes | None, mirror: Mirror, other: Mirror, tmp_path: Path
) -> None:
    mirror.files = {"train.gz": content} if content else {}
    assert _fetch(tmp_path, mirror, other).read_bytes() == CONTENT
    assert (mirror.requests["train.gz"], other.requests["train.gz"]) == (1, 1)


def test_a_download_that_breaks_off_is_tried_again_and_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut.add("train.gz")
    with pytest.raises(DataError, match=r"^name: .*/set/train.gz: .*(Incomplete|bytes)"):
        _fetch(tmp_path, mirror)
    assert mirror.requests["train.gz"] == 3
    assert _left(tmp_path) == []
    mirror.cut.clear()
    assert _fetch(tmp_path, mirror).read_bytes() == CONTENT


def test_without_a_mirror_the_message_says_which_files_to_put_where(tmp_path: Path) -> None:
    with serve() as gone:
        address = gone.address
    files = [RemoteFile(name="here.gz", md5=_md5(b"here")), FILE, RemoteFile(name="test.gz", md5=_md5(b"test"))]
    (tmp_path / "here.gz").write_bytes(b"here")
    with pytest.raises(DataError) as raised:
        fetch_files(files, mirrors=[address], folder=tmp_path, field="name")
    message = str(raised.value)
    assert message.startswith(
        f"name: the files are downloaded once, and no mirror gives train.gz ({address}train.gz: "
    )
    assert "Connection refused" in message
    assert message.endswith(
        f": connect to the internet, or put these into {tmp_path}: train.gz (MD5 {FILE.md5}), "
        f"test.gz (MD5 {_md5(b'test')})"
    )
    assert _left(tmp_path) == ["here.gz"]


def test_a_file_that_is_there_is_checked_too_and_never_replaced_in_silence(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "train.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(
        DataError, match=rf"^name: the file must be the published one \(MD5 {FILE.md5}\), .*: remove"
    ):
        _fetch(tmp_path, mirror)
    assert mirror.requests["train.gz"] == 0
    assert (tmp_path / "train.gz").read_bytes() == CONTENT[:-1]


def test_a_folder_that_cannot_be_made_is_told(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        DataError, match=r"^name: downloaded files are kept in .*file/set, .*: set TUNELADDER_DATA"
    ):
        _fetch(tmp_path / "file/set", mirror)


FETCH = """
import sys
from pathlib import Path
from lightning_modules.data.download import fetch_files
from lightning_modules.data.files import RemoteFile
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
file = RemoteFile(name="train.gz", md5=sys.argv[3])
fetch_files([file], mirrors=[sys.argv[1]], folder=Path(sys.argv[2]), field="name")
"""


def test_of_several_processes_one_downloads(mirror: Mirror, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH, mirror.address, str(tmp_path), FILE.md5]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in processes:  # all stand at the line before the first one goes
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
    assert [process.returncode for process in processes] == [0, 0]
    assert mirror.requests["train.gz"] == 1
    assert (tmp_path / "train.gz").read_bytes() == CONTENT


def test_of_several_threads_one_downloads(mirror: Mirror, tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def fetch(_: int) -> bytes:
        start.wait()
        return _fetch(tmp_path, mirror).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, range(4))) == [CONTENT] * 4
    assert mirror.requests["train.gz"] == 1
    assert _left(tmp_path) == ["train.gz"]


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TUNELADDER_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_folder() == tmp_path / ".cache/tuneladder"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert data_folder() == Path("/caches/tuneladder")
    monkeypatch.setenv("TUNELADDER_DATA", "~/data")
    assert data_folder() == tmp_path / "data"


def _idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def small_set(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> PublishedSet:
    """Fashion-MNIST, but small and served here."""
    draw = np.random.default_rng(0)
    real = PUBLISHED_SETS["fashion_mnist"]
    arrays = [
        draw.integers(0, 256, (60, 28, 28)),
        np.arange(60) % 10,
        draw.integers(0, 256, (20, 28, 28)),
        np.arange(20) % 10,
    ]
    mirror.files = {file.name: _idx(array) for file, array in zip(real.files, arrays, strict=True)}
    files = tuple(RemoteFile(name=file.name, md5=_md5(mirror.files[file.name])) for file in real.files)
    small = PublishedSet(mirrors=(mirror.address,), files=files, class_names=real.class_names)
    monkeypatch.setattr(published, "PUBLISHED_SETS", {"fashion_mnist": small})
    return small


def test_a_published_set_is_downloaded_and_read(
    small_set: PublishedSet, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNELADDER_DATA", str(tmp_path))
    source = PublishedSource(name="fashion_mnist", validation_fraction=0.2)
    data, test = source.read_training(), source.read_test()
    assert (len(data.train), len(data.validation), len(test)) == (48, 12, 20)
    assert data.info.image_shape == (1, 28, 28)
    assert data.info.class_names[:2] == ("T-shirt/top", "Trouser")
    assert test.target.tolist() == [label % 10 for label in range(20)]
    assert sum(mirror.requests.values()) == 4
    raw = read_idx(tmp_path / "fashion_mnist/t10k-images-idx3-ubyte.gz", num_axes=3)
    np.testing.assert_array_equal(
        test.inputs["image"], preprocessor_from_dict(data.preprocessing).transform(raw)["image"]
    )


def test_an_unknown_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"name: a published set is one of mnist, fashion_mnist, got 'kmnist'"):
        PublishedSource(name="kmnist")


def test_every_published_set_has_safe_addresses_and_checksums() -> None:
    for name, published_set in PUBLISHED_SETS.items():
        assert len(published_set.mirrors) >= 2, name
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in published_set.mirrors)
        assert len({file.md5 for file in published_set.files}) == 4
        assert all(len(bytes.fromhex(file.md5)) == 16 for file in published_set.files)
        assert len(published_set.class_names) == 10


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="no mnist folder: set TUNELADDER_DATA")
def test_mnists_own_test_files_have_the_checksums_that_are_asked_for() -> None:
    for file in PUBLISHED_SETS["mnist"].files[2:]:
        assert _md5((DATA / "mnist" / file.name).read_bytes()) == file.md5
