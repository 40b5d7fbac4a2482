"""Specs of strangers: whatever comes, the answer is a problem that names the field, and never a fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_parts import SPEC, Asks, People, problem_of, serving, settings_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api import create_app
from service.api.bodies import MAX_YAML_BYTES, parse_json, parse_yaml
from service.api.facts import DATASETS, FAMILIES
from service.api.problems import ProblemError
from service.store import Store

YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}
HUGE = "9" * 5000
BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nfamily: mlp\ndata: {name: digits}\n"


def submit(ask: Asks, content: bytes | str, headers: dict[str, str], who: str = "ann") -> httpx.Response:
    return ask(who, "POST", "/v1/jobs", content=content, headers=headers)


def spec_text(**changes: Any) -> str:
    return json.dumps(SPEC | changes)


# What it is: the body, its type, the answer, the field that is named.
REFUSED: dict[str, tuple[bytes | str, dict[str, str], int, str | None]] = {
    "nothing": (b"", JSON, 400, "body"),
    "nothing, as yaml": (b"", YAML, 422, None),
    "half": (b"{", JSON, 400, "body"),
    "half yaml": (b"family: [", YAML, 400, "body"),
    "not utf-8": (b"\xff\xfe{}", JSON, 400, "body"),
    "not utf-8, as yaml": (b"name: \xc3", YAML, 400, "body"),
    "a key twice": ('{"a": 1, "a": 2}', JSON, 400, "body"),
    "a key twice, as yaml": ("a: 1\na: 2", YAML, 400, "body"),
    "a list": ("[1]", JSON, 422, None),
    "null": ("null", JSON, 422, None),
    "a number": ("3", YAML, 422, None),
    "deep": ("[" * 100_000, JSON, 400, "body"),
    "deep yaml": ("[" * 10_000, YAML, 400, "body"),
    "a little too deep": ('{"a":' * 40 + "1" + "}" * 40, JSON, 422, ".".join("a" * 33)),
    "aliases": (BOMB, YAML, 400, "body"),
    "merged keys": ("a: &a {b: 1}\nc: {<<: *a}", YAML, 400, "body"),
    "thousands of digits": (f'{{"seed": {HUGE}}}', JSON, 400, "body"),
    "thousands of digits, as yaml": (f"seed: {HUGE}", YAML, 400, "body"),
    "64 bits": (spec_text(seed=2**63), JSON, 422, "seed"),
    "a huge budget": (spec_text(budget={"epochs": 10**30}), JSON, 422, "budget.epochs"),
    "nul": (spec_text(name="a\x00b"), JSON, 422, "name"),
    "half a surrogate pair": ('{"name": "\\ud800"}', JSON, 422, "name"),
    "nul in a key": ('{"\\u0000": 1}', JSON, 422, "body"),
    "nan": ('{"model": {"x": NaN}}', JSON, 422, "model.x"),
    "infinity": ('{"model": {"x": [1, -Infinity]}}', JSON, 422, "model.x.1"),
    "beyond floats": ('{"model": {"x": 1e999}}', JSON, 422, "model.x"),
    "nan, as yaml": ("model: {x: .nan}", YAML, 422, "model.x"),
    "a date": ("name: 2020-01-01", YAML, 422, "name"),
    "a date that is none": ("name: 2020-13-41", YAML, 400, "body"),
    "a key that is a number": ("{1: 2}", YAML, 422, "body"),
    "a key that is a list": ("{[1]: 2}", YAML, 400, "body"),
    "bytes": ("name: !!binary aGk=", YAML, 422, "name"),
    "a set": ("name: !!set {a, b}", YAML, 422, "name"),
    "code": ("name: !!python/object/apply:os.system [id]", YAML, 400, "body"),
    "two documents": ("a: 1\n---\nb: 2", YAML, 400, "body"),
    "much yaml": (f"# {'x' * MAX_YAML_BYTES}", YAML, 413, "body"),
    "an unknown key": (spec_text(famly="mlp"), JSON, 422, "famly"),
    "an unknown set": (spec_text(data={"name": "digit"}), JSON, 422, "data.name"),
    "a family for other data": (spec_text(family="rnn"), JSON, 422, "family"),
    "an unknown parameter": (spec_text(search={"space": {"lrr": {}}}), JSON, 422, "search.space.lrr"),
    "no range": (spec_text(search={"space": {"lr": {"low": 2, "high": 1}}}), JSON, 422, "search.space.lr"),
    "a nested value": (spec_text(model={"width": {"a": {"b": 1}}}), JSON, 422, "model.width"),
    "another type": (b"{}", {"Content-Type": "text/plain"}, 415, "header.content-type"),
    "no type": (b"{}", {}, 415, "header.content-type"),
    "another charset": (b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "body"),
}


def test_what_is_no_spec_is_refused_with_the_field(ask: Asks, store: Store) -> None:
    got = {}
    for name, (content, headers, _, _) in REFUSED.items():
        response = submit(ask, content, headers)
        got[name] = (response.status_code, problem_of(response).get("field"))
        assert len(response.content) < 5000
    assert got == {name: (status, field) for name, (_, _, status, field) in REFUSED.items()}
    assert not store.jobs()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
KEYS = ["name", "family", "data", "model", "objective", "search", "budget", "resources", "seed", "export"]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=PLAIN | st.dictionaries(st.sampled_from(KEYS), PLAIN).map(lambda changes: SPEC | changes))
def test_any_json_is_a_job_or_a_problem(ask: Asks, body: Any) -> None:
    text = json.dumps(body).encode("utf-8", "surrogatepass")
    response = submit(ask, text, JSON)
    assert response.status_code in (201, 400, 422)
    if response.status_code != 201:
        problem_of(response)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("{}[]:,-&*!|>'\"%@`#?~<=\n\t abc019.eE+_\x00\u2028é"), max_size=40))
def test_any_text_as_yaml_is_plain_data_or_a_problem(text: str) -> None:
    try:
        document = parse_yaml(text.encode())
    except ProblemError:
        return
    json.dumps(document, allow_nan=False)


def test_json_is_read_as_it_was_written() -> None:
    assert parse_json(b'{"a": [1, 2.5, "x", null, true, {"b": {}}]}') == {
        "a": [1, 2.5, "x", None, True, {"b": {}}]
    }


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not(
    home: Path, store: Store, people: People
) -> None:
    small = settings_for(home, database_url=store.url, max_body_bytes=10_000)
    content = json.dumps({**SPEC, "model": {"x": "y" * 20_000}}).encode()

    def pieces() -> Any:
        yield from (content[start : start + 1000] for start in range(0, len(content), 1000))

    with serving(create_app(small, store)) as url, httpx.Client(base_url=url, timeout=30) as client:
        for body in (content, pieces()):
            response = client.post("/v1/jobs", content=body, headers={**people.headers("ann"), **JSON})
            assert response.status_code == 413
            assert problem_of(response)["code"] == "too_large"
        chunked = client.post(
            "/v1/jobs", content=iter([json.dumps(SPEC).encode()]), headers={**people.headers("ann"), **JSON}
        )
        assert chunked.status_code == 201


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two data roots and a folder that is none."""
    folders = tuple(tmp_path / name for name in ("data", "more", "private"))
    for folder in folders:
        (folder / "sub").mkdir(parents=True)
        (folder / "rows.csv").write_text("a,y\n1,0\n")
    (folders[0] / "way-out").symlink_to(folders[2])
    (folders[0] / "way-in").symlink_to(folders[1])
    return folders  # type: ignore[return-value]


@pytest.fixture
def confined(ask: Asks, home: Path, store: Store, people: People, roots: tuple[Path, Path, Path]) -> Any:
    """Submits a spec to a server with two data roots and one allowed package."""
    own = settings_for(home, database_url=store.url, data_roots=roots[:2], allowed_modules=("shop", "lib.nets"))
    with serving(create_app(own, store)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield lambda spec: client.post("/v1/jobs", json=spec, headers=people.headers("ann"))


def test_files_below_the_roots_are_taken(confined: Any, roots: tuple[Path, Path, Path]) -> None:
    data, more, _ = roots
    for given_path, absolute in {
        "rows.csv": data / "rows.csv",
        "sub/../rows.csv": data / "rows.csv",
        str(more / "rows.csv"): more / "rows.csv",
        "way-in/rows.csv": data / "way-in/rows.csv",
        "not-there-yet.csv": data / "not-there-yet.csv",
    }.items():
        response = confined({"family": "mlp", "data": {"csv": given_path, "target": "y"}})
        assert response.status_code == 201, response.text
        assert response.json()["spec"]["data"]["csv"] == str(absolute)


@pytest.mark.parametrize(
    "path",
    ["../private/rows.csv", "/etc/passwd", "way-out/rows.csv", "..", "/", "~/rows.csv", "~root/x", "./~/x",
     "${HOME}/x", "sub/${TUNELADDER_HOME}", "../data2/x", "../dat", "/proc/self/environ", "sub/../../private/x"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"family": "mlp", "data": {"csv": "PATH", "target": "y"}}, "data.csv"),
        ({"family": "mlp", "data": {"parquet": "PATH", "target": "y"}}, "data.parquet"),
        ({"family": "mlp", "data": {"csv": "rows.csv", "test": "PATH", "target": "y"}}, "data.test"),
        ({"family": "cnn", "data": {"idx": "PATH"}}, "data.idx"),
        ({"family": "cnn", "data": {"images": "PATH"}}, "data.images"),
        ({"family": "rnn", "data": {"text": "PATH"}}, "data.text"),
        ({"family": "rnn", "data": {"npz": "PATH"}}, "data.npz"),
        ({"family": "rnn", "data": {"series": "PATH", "series_id": "i", "target": "y"}}, "data.series"),
        ({"family": "mlp", "data": {"name": "digits"}, "model": {"start_from": "PATH"}}, "model.start_from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_path_leads_out_of_the_roots(roots: tuple[Path, Path, Path], spec: Any, field: str, path: str) -> None:
    """As the server reads it; no socket is needed for each of a hundred."""
    from service.api.specs import read_spec
    from service.errors import ForbiddenFieldError

    own = settings_for(roots[0].parent / "home", data_roots=roots[:2])
    body = json.dumps(spec).replace("PATH", path).encode()
    with pytest.raises(ForbiddenFieldError) as caught:
        read_spec(body, "application/json", own)
    assert caught.value.field == field


def test_a_path_that_is_refused_says_so_over_http(confined: Any) -> None:
    problem = problem_of(confined({"family": "mlp", "data": {"csv": "../private/rows.csv", "target": "y"}}))
    assert (problem["status"], problem["code"], problem["field"]) == (422, "forbidden_field", "data.csv")
    there = problem["detail"]
    missing = problem_of(confined({"family": "mlp", "data": {"csv": "../private/nowhere", "target": "y"}}))[
        "detail"
    ]
    assert there.replace("rows.csv", "") == missing.replace("nowhere", "")  # it does not tell what is there


def test_without_roots_no_file_is_taken(ask: Asks) -> None:
    response = ask("ann", "POST", "/v1/jobs", json={"family": "mlp", "data": {"csv": "x.csv", "target": "y"}})
    assert problem_of(response)["code"] == "forbidden_field"


@pytest.mark.parametrize(
    ("module", "is_allowed"),
    [("shop:Net", True), ("shop.nets:Net", True), ("lib.nets:Net", True), ("lib.nets.deep:Net", True),
     ("shopping:Net", False), ("lib:Net", False), ("lib.netsX:Net", False), ("os:system", False),
     ("service.store:Store", False)],
)  # fmt: skip
def test_modules_are_of_allowed_packages(confined: Any, module: str, is_allowed: bool) -> None:
    own_family = {
        "family": {"module": module},
        "data": {"name": "digits"},
        "objective": {"metric": "val_loss"},
        "search": {"space": {"lr": {"low": 0.1, "high": 0.2}}},
    }
    own_data = own_family | {"family": {"module": "shop:Net"}, "data": {"module": module}}
    for spec, field in ((own_family, "family.module"), (own_data, "data.module")):
        response = confined(spec)
        if is_allowed:
            assert response.status_code == 201, response.text
        else:
            problem = problem_of(response)
            assert (problem["code"], problem["field"]) == ("forbidden_field", field)


def test_every_path_of_every_kind_of_data_is_looked_at() -> None:
    from service.data_sections import DataSection
    from service.documents import PATH_KEYS
    from service.sources import _PATHS

    assert {key for paths in _PATHS.values() for key in paths} == set(PATH_KEYS)
    known = {kind for kind in DataSection.__args__ if set(kind.model_fields) & set(PATH_KEYS)}
    assert known == set(_PATHS)


def test_what_is_said_of_families_and_sets_is_true() -> None:
    from lightning_modules.data import BUILTIN_NAMES, PUBLISHED_SETS, BuiltinSource
    from lightning_modules.families import FAMILIES as REAL

    assert {name: tuple(facts["data"]) for name, facts in FAMILIES.items()} == {
        n: f.kinds for n, f in REAL.items()
    }
    assert set(DATASETS) == {*BUILTIN_NAMES, *PUBLISHED_SETS}
    assert {name for name, facts in DATASETS.items() if facts["is_downloaded"]} == set(PUBLISHED_SETS)
    for name in BUILTIN_NAMES:
        source = BuiltinSource(name=name)
        training, said = source.read_training(), DATASETS[name]
        num_rows = len(training.train) + len(training.validation) + len(source.read_test())
        classes = len(training.info.class_names) if training.info.task == "classification" else None
        found = {
            "kind": training.info.kind,
            "task": training.info.task,
            "num_rows": num_rows,
            "num_classes": classes,
        }
        assert found == {key: said[key] for key in found}
    for name, published in PUBLISHED_SETS.items():
        assert DATASETS[name]["num_classes"] == len(published.class_names)
