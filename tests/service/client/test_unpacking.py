"""Bundles that arrive: whole and as they were written, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from service.client import NotTuneladderError
from service.client.unpacking import unpack_bundle
from service.errors import ConflictError

FILES = {"checkpoint.ckpt": b"weights", "metrics.json": b"{}"}


def manifest(files: dict[str, bytes], **changes: object) -> bytes:
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"format": 1, "files": sums} | changes).encode()


def member(name: str, **changes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def pack(files: dict[str, bytes], *extra: tarfile.TarInfo, prefix: str = "bundle/") -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as opened:
        for name, content in files.items():
            opened.addfile(member(prefix + name, size=len(content)), io.BytesIO(content))
        for info in extra:
            opened.addfile(info, io.BytesIO(b"x" * info.size))
    archive.seek(0)
    return archive


def whole(files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {**files, "bundle.json": manifest(files)}


@pytest.mark.parametrize("prefix", ["", "bundle/", "./", "a/b/"])
def test_a_bundle_is_there_with_all_its_files(tmp_path: Path, prefix: str) -> None:
    folder = unpack_bundle(pack(whole(), prefix=prefix), tmp_path / "new" / "bundle")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


EVIL = [
    member("../out", size=1),
    member("bundle/../../out", size=1),
    member("/tmp/tuneladder-out", size=1),
    member("bundle/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    member("bundle/hard", type=tarfile.LNKTYPE, linkname="bundle/checkpoint.ckpt"),
    member("bundle/pipe", type=tarfile.FIFOTYPE),
    member("bundle/disk", type=tarfile.BLKTYPE),
    member("bundle/below/deeper", size=1),
    member("bundle/stranger", size=1),
    member("bundle/checkpoint.ckpt", size=1),
]


@pytest.mark.parametrize("evil", EVIL, ids=lambda info: f"{info.name}-{info.type.decode()}")
def test_what_is_no_plain_file_of_the_bundle_is_refused_and_nothing_is_kept(
    tmp_path: Path, evil: tarfile.TarInfo
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(NotTuneladderError, match="a bundle"):
        unpack_bundle(pack(whole(), evil), inside / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not list(inside.iterdir())
    assert not Path("/tmp/tuneladder-out").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (FILES, r"a folder with bundle\.json"),
        (whole() | {"metrics.json": b"[]"}, r"metrics\.json is changed"),
        ({**FILES, "bundle.json": manifest(FILES | {"gone": b""})}, "gone is missing"),
        ({"bundle.json": manifest({}, format=2)}, "bundles of format 1"),
        ({"bundle.json": b"{"}, "whole bundle"),
        ({"bundle.json": b"[]"}, "whole bundle"),
    ],
)
def test_a_bundle_that_is_not_as_it_was_written_is_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(NotTuneladderError, match=said):
        unpack_bundle(pack(files), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9])
def test_a_broken_archive_is_refused(tmp_path: Path, part: float) -> None:
    content = pack(whole()).getvalue()
    content = content[: int(part * len(content))]
    with pytest.raises(NotTuneladderError, match=r"a whole \.tar\.gz|whole bundle"):
        unpack_bundle(io.BytesIO(content), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_nothing_that_stands_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("bundle", "link"):
        with pytest.raises(ConflictError, match=r"exists: choose another with --to"):
            unpack_bundle(pack(whole()), tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "link"}
