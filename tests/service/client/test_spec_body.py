"""How a spec travels: variables are those of the one who submits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.client.spec_body import spec_body
from service.errors import InvalidSpecError


def test_a_files_variables_are_filled_in_where_it_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_DATA", "/srv/data")
    monkeypatch.delenv("NOT_SET", raising=False)
    spec = tmp_path / "spec.yaml"
    spec.write_text("data: {path: '${MY_DATA}/a.csv', test_path: '${NOT_SET}/b.csv'}  # ü $MY_DATA\n")
    content, kind = spec_body(spec)
    assert kind == "application/yaml"
    assert content.decode() == "data: {path: '/srv/data/a.csv', test_path: '${NOT_SET}/b.csv'}  # ü $MY_DATA\n"


def test_a_mapping_travels_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DATA", "/srv/data")
    content, kind = spec_body({"data": {"path": Path("${MY_DATA}/a.csv")}})
    assert kind == "application/json"
    assert json.loads(content) == {"data": {"path": "${MY_DATA}/a.csv"}}


@pytest.mark.parametrize("content", [None, b"name: \xff\xfe"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    spec = tmp_path / "spec.yaml"
    if content is not None:
        spec.write_bytes(content)
    with pytest.raises(InvalidSpecError, match="must be a readable text file"):
        spec_body(spec)
