"""Servers that are away, strange, busy or broken: what a client says, and what it tries again."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from odd_servers import Answer, OddServer, ok, problem, serve

from service.client import (
    ApiAccessError,
    ApiBusyError,
    ApiConflictError,
    ApiError,
    ApiNotFoundError,
    ApiSpecError,
    Client,
    NotTuneladderError,
    ServerUnreachableError,
)
from service.errors import ConflictError, InvalidSpecError, NotFoundError

TOKEN = "tl_" + "s" * 43
ME = {"owner": "ada", "role": "admin"}
JOB: dict[str, Any] = {
    "id": "0198abcd", "name": "digits", "state": "queued", "owner": "ada", "priority": 0,
    "created_at": "2026-11-21T12:00:00Z",
}  # fmt: skip
HTML = Answer(200, b"<html>router</html>", "text/html")


def client(server: OddServer) -> Client:
    return Client(server.url, TOKEN, timeout_s=5)


def test_a_port_on_which_nothing_listens_is_named_with_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServerUnreachableError, match=rf"server must listen at {url}, got: .*: start") as error:
            Client(url).me()
    assert error.value.exit_code == 1
    assert not error.value.may_have_arrived


def test_a_name_that_no_host_has_is_said() -> None:
    with pytest.raises(ServerUnreachableError, match=r"must listen at http://no-such-host\.invalid:8400"):
        Client("http://no-such-host.invalid:8400").me()


def test_tls_with_a_server_that_speaks_none_is_said_at_once() -> None:
    with serve(ok(ME)) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ServerUnreachableError, match=r"TLS with .* failed .*https or http") as error:
            Client(url).me()
    assert not error.value.is_passing


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that no authority has signed, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out",
         folder / "certificate", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both").write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return folder / "both"


def test_a_certificate_must_be_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve(ok(ME), wrap=lambda plain: context.wrap_socket(plain, server_side=True)) as server:
        with pytest.raises(ServerUnreachableError, match=r"certificate of https://.* must be trusted.*SSL_CERT"):
            client(server).me()
        assert not server.requests  # the token was not sent
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate")))
        assert client(server).me().owner == "ada"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HTML, r"answers /v1/me with status 200 and text/html: check the address"),
        (Answer(404, b"<html>", "text/html"), r"with status 404 and text/html"),
        (ok({"detail": "Not Found"}, 404), r"with status 404 and application/json"),
        (Answer(200, b"{", "application/json"), r"with status 200 and application/json"),
        (Answer(301, headers={"Location": "https://lab.example/"}), r"did you mean https://lab\.example/\?"),
        (ok({"hello": "world"}), r"must answer as this version of tuneladder expects, got owner: Field required"),
        (ok([]), r"must answer as this version of tuneladder expects, got the answer"),
    ],
)
def test_a_server_that_is_another_is_named(answer: Answer, said: str) -> None:
    with serve(answer) as server, pytest.raises(NotTuneladderError, match=said) as error:
        client(server).me()
    assert error.value.exit_code == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "tree"),
    [
        (401, "unauthorized", ApiAccessError, ApiError),
        (403, "forbidden", ApiAccessError, ApiError),
        (404, "not_found", ApiNotFoundError, NotFoundError),
        (409, "conflict", ApiConflictError, ConflictError),
        (422, "invalid_spec", ApiSpecError, InvalidSpecError),
        (413, "too_large", ApiSpecError, InvalidSpecError),
        (418, "teapot", ApiError, ApiError),
    ],
)
def test_an_error_of_the_server_is_of_our_own_tree(status: int, code: str, kind: type, tree: type) -> None:
    said = "the rule, the value: the remedy"
    with serve(problem(status, code, said)) as server, pytest.raises(tree, match=f"^{said}$") as error:
        client(server).me()
    assert type(error.value) is kind
    assert (error.value.status, error.value.code, error.value.exit_code) == (status, code, 2)
    assert len(server.requests) == 1


def test_a_wrong_field_is_named_once() -> None:
    body = b'{"code": "invalid_spec", "detail": "must be 1 or more, got 0: raise it", "field": "budget.epochs"}'
    said = r"^budget\.epochs: must be 1 or more, got 0: raise it$"
    answer = Answer(422, body, "application/problem+json")
    with serve(answer) as server, pytest.raises(ApiSpecError, match=said) as error:
        client(server).submit({"family": "mlp"})
    assert error.value.field == "budget.epochs"


def test_who_has_no_token_hears_how_to_give_one() -> None:
    with serve(problem(401, "unauthorized", "a valid token is needed")) as server:
        with pytest.raises(ApiAccessError, match=r"wants a token: set TUNELADDER_TOKEN"):
            Client(server.url).me()
        with pytest.raises(ApiAccessError, match=r"^a valid token is needed$"):
            client(server).me()


def test_a_question_is_asked_again_while_the_server_is_away_for_a_moment() -> None:
    away = Answer(502, b"<html>", "text/html"), Answer(silent=True), Answer(200, b'{"owner"', cut=True)
    with serve(*away, ok(ME)) as server:
        assert client(server).me().owner == "ada"
    assert len(server.requests) == 4


def test_a_question_is_given_up_after_a_while_and_the_last_reason_is_said() -> None:
    said = r"is not available now \(status 503\): try again later"
    with serve(Answer(503, b"", "text/plain")) as server, pytest.raises(ApiError, match=said) as error:
        client(server).me()
    assert len(server.requests) == 4
    assert error.value.exit_code == 1


@pytest.mark.parametrize("answer", [Answer(503, b"", "text/plain"), Answer(silent=True)])
def test_a_move_is_asked_for_once(answer: Answer) -> None:
    with serve(answer) as server, pytest.raises((ApiError, ServerUnreachableError)):
        client(server).cancel("0198")
    assert len(server.requests) == 1


def test_who_asks_too_often_waits_as_long_as_the_server_says() -> None:
    busy = problem(429, "rate_limited", "too many requests", Retry_After="1")
    with serve(busy, ok(JOB)) as server:
        assert client(server).pause("0198").id == JOB["id"]
    assert len(server.requests) == 2


def test_a_wait_that_is_too_long_is_said_and_not_made() -> None:
    answer = problem(429, "rate_limited", "too many requests", Retry_After="3600")
    with serve(answer) as server, pytest.raises(ApiBusyError, match="too many requests") as error:
        client(server).me()
    assert error.value.retry_after_s == 3600
    assert len(server.requests) == 1


def test_a_submission_is_sent_again_under_the_same_key() -> None:
    with serve(Answer(silent=True), ok(JOB, 201)) as server:
        job = client(server).submit({"family": "mlp"})
    assert (job.id, job.is_repeat) == (JOB["id"], False)
    first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(first.headers["idempotency-key"]) >= 16
    assert first.body == second.body == b'{"family": "mlp"}'


def test_two_submissions_are_two_jobs_unless_they_share_a_key() -> None:
    with serve(ok(JOB, 201)) as server:
        asking = client(server)
        for key in (None, None, "nightly-7", "nightly-7"):
            asking.submit({"family": "mlp"}, idempotency_key=key, priority=3)
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len({*keys[:2]}) == 2
    assert keys[2:] == ["nightly-7"] * 2
    assert server.requests[0].path == "/v1/jobs?priority=3"


def test_a_submission_of_which_nothing_was_heard_names_its_key() -> None:
    with serve(Answer(silent=True)) as server, pytest.raises(ServerUnreachableError) as error:
        client(server).submit({"family": "mlp"})
    assert {request.headers["idempotency-key"] for request in server.requests} == {error.value.idempotency_key}


def test_a_spec_travels_as_it_is(tmp_path: Path) -> None:
    document = tmp_path / "spec.yaml"
    document.write_text("family: mlp  # of the paper\ndata: {name: wine}\n", encoding="utf-8")
    with serve(ok(JOB, 201)) as server:
        client(server).submit(document)
        client(server).submit({"data": {"csv": Path("table.csv")}})
        with pytest.raises(InvalidSpecError, match=r"readable text file, got .*none\.yaml"):
            client(server).submit(tmp_path / "none.yaml")
        with pytest.raises(InvalidSpecError, match="what JSON can hold, got: set"):
            client(server).submit({"family": {1}})
    first, second = server.requests
    assert (first.headers["content-type"], first.body) == ("application/yaml", document.read_bytes())
    assert (second.headers["content-type"], second.body) == ("application/json", b'{"data": {"csv": "table.csv"}}')


def test_a_token_is_sent_and_shown_nowhere() -> None:
    with serve(problem(401, "unauthorized", "no")) as server, pytest.raises(ApiAccessError) as error:
        client(server).me()
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.requests[0].headers["user-agent"].startswith("tuneladder/")
    assert TOKEN not in repr(client(server)) + repr(error.value) + str(error.value)


@pytest.mark.parametrize("token", ["", " ", "two words", "tl_ä", "tl_\nx: y"])
def test_what_cannot_be_a_token_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(InvalidSpecError, match="a token is one word") as error:
        Client("http://localhost:8400", token)
    assert not token.strip() or token not in str(error.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8400", "begins with http"),
        ("ftp://lab", "begins with http"),
        ("http://", "begins with http"),
        ("https://lab/v1", "ends before /v1"),
        ("https://lab/?token=1", "ends before /v1"),
    ],
)
def test_what_cannot_be_an_address_is_refused(url: str, said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        Client(url)


def test_an_address_may_have_a_path_and_a_slash() -> None:
    with serve(ok(ME)) as server, Client(f"{server.url}/lab/", TOKEN) as asking:
        asking.me()
    assert server.requests[0].path == "/lab/v1/me"


@pytest.mark.parametrize("name", ["", "../tokens", "a/b?c#d", "ä", "MyJob", "a" * 33, "0198\n"])
def test_what_cannot_be_a_job_s_id_is_not_asked_for(name: str) -> None:
    with (
        serve(ok(JOB)) as server,
        pytest.raises(NotFoundError, match=r"no job has the id .*: `tuneladder jobs`"),
    ):
        client(server).cancel(name)
    assert not server.requests


def test_a_list_is_asked_for_page_by_page_as_it_is_needed() -> None:
    pages = [
        ok({"items": [JOB | {"id": "a"}, JOB | {"id": "b"}], "next_cursor": "c1"}),
        ok({"items": [JOB | {"id": "c"}], "next_cursor": None}),
    ]
    with serve(*pages) as server:
        jobs = client(server).jobs(state="queued")
        assert next(jobs).id == "a"
        assert len(server.requests) == 1
        assert [job.id for job in jobs] == ["b", "c"]
    assert "cursor=c1" in server.requests[1].path
    assert all("state=queued" in request.path for request in server.requests)
    with serve(*pages) as server:
        assert [job.id for job in client(server).jobs(limit=1)] == ["a"]
    assert len(server.requests) == 1
    assert "limit=1" in server.requests[0].path
