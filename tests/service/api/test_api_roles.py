"""Who may do what: every route of the OpenAPI document, by everybody who may come along."""

from __future__ import annotations

from pathlib import Path

from api_parts import SPEC, Asks, People, a_job, add_expired, finished_job, problem_of, running_job

from service.store import Role, Store

EVERYBODY = (None, "revoked", "expired", "ann-reads", "ann", "bob", "root")
OPEN = dict.fromkeys(EVERYBODY, 200)
READ = {None: 401, "revoked": 401, "expired": 401, "ann-reads": 200, "ann": 200, "bob": 200, "root": 200}
ADMIN = {**READ, "ann-reads": 403, "ann": 403, "bob": 403}
# What is below a job of ann's is not there for bob.
READ_ANNS = {**READ, "bob": 404}
STEER_ANNS = {**READ_ANNS, "ann-reads": 403}


def but(status: int, table: dict[str | None, int]) -> dict[str | None, int]:
    """The same table where success is another status."""
    return {who: status if code == 200 else code for who, code in table.items()}


# By method and path of the document; {job_id} is a job of ann's that has completed where the path needs a winner.
TABLE: dict[tuple[str, str], dict[str | None, int]] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): READ,
    ("GET", "/v1/me"): READ,
    ("GET", "/v1/spaces"): READ,
    ("GET", "/v1/spaces/{name}"): READ,
    ("GET", "/v1/families"): READ,
    ("GET", "/v1/datasets"): READ,
    ("POST", "/v1/jobs"): but(201, {**READ, "ann-reads": 403}),
    ("POST", "/v1/plans"): but(422, {**READ, "ann-reads": 403}),
    ("GET", "/v1/jobs"): READ,
    ("GET", "/v1/jobs/{job_id}"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/events"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/stages"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/trials"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/trials/{number}"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/best"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/exports"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/exports/{export_id}"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/exports/{export_id}/bundle"): READ_ANNS,
    ("GET", "/v1/jobs/{job_id}/bundle"): READ_ANNS,
    ("POST", "/v1/jobs/{job_id}/pause"): STEER_ANNS,
    ("POST", "/v1/jobs/{job_id}/resume"): STEER_ANNS,
    ("POST", "/v1/jobs/{job_id}/cancel"): STEER_ANNS,
    ("PUT", "/v1/jobs/{job_id}/priority"): STEER_ANNS,
    ("POST", "/v1/jobs/{job_id}/exports"): but(202, STEER_ANNS),
    ("POST", "/v1/tokens"): but(201, ADMIN),
    ("GET", "/v1/tokens"): ADMIN,
    ("DELETE", "/v1/tokens/{token_id}"): but(204, ADMIN),
    ("GET", "/v1/audit"): ADMIN,
}
NEEDS_QUEUED = {"pause", "resume", "cancel", "priority"}
BODIES = {
    "/v1/jobs": SPEC,
    "/v1/plans": {"family": "mlp"},  # what follows costs a process: the role is checked before
    "/v1/jobs/{job_id}/priority": {"priority": 3},
    "/v1/jobs/{job_id}/exports": {"formats": ["safetensors"]},
    "/v1/tokens": {"name": "new", "owner": "carl", "role": "viewer"},
}


def test_every_route_is_in_the_table(ask: Asks) -> None:
    document = ask(None, "GET", "/openapi.json").json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes == TABLE.keys()


def test_who_may_do_what(ask: Asks, store: Store, people: People, home: Path) -> None:
    add_expired(store, people)
    job = finished_job(store, home)
    got: dict[tuple[str, str], dict[str | None, int]] = {}
    for method, template in TABLE:
        got[method, template] = {}
        for who in EVERYBODY:
            subject = a_job(store) if template.rpartition("/")[2] in NEEDS_QUEUED else store.job(job.id)
            token = store.create_token("to be revoked", "dora", Role.VIEWER)[0]
            path = template.format(
                job_id=subject.id, number=0, export_id=store.exports(job.id)[0].id, name="mlp", token_id=token.id
            )
            response = ask(who, method, path, json=BODIES.get(template))
            got[method, template][who] = response.status_code
            if response.status_code >= 400:
                problem_of(response)
            if response.status_code in (401, 403, 404):
                assert store.job(subject.id) == subject
            if response.status_code == 401:
                assert response.headers["www-authenticate"] == "Bearer"
    assert got == TABLE


def test_the_list_shows_own_jobs_and_administrators_see_all(ask: Asks, store: Store) -> None:
    mine, other = a_job(store, owner="ann"), a_job(store, owner="bob")

    def seen(who: str, **params: str) -> list[str]:
        response = ask(who, "GET", "/v1/jobs", params=params)
        return [item["id"] for item in response.json()["items"]]

    assert seen("ann") == seen("ann-reads") == seen("ann", owner="ann") == [mine.id]
    assert seen("bob") == [other.id]
    assert seen("root") == [other.id, mine.id]
    assert seen("root", owner="ann") == [mine.id]
    refused = ask("ann", "GET", "/v1/jobs", params={"owner": "bob"})
    assert problem_of(refused)["field"] == "query.owner"


def test_the_beginning_of_an_id_finds_no_job_of_others_and_tells_of_none(ask: Asks, store: Store) -> None:
    mine, others = a_job(store, owner="ann"), [a_job(store, owner="bob") for _ in range(3)]
    prefix = mine.id[:2]
    assert all(job.id.startswith(prefix) for job in others)
    assert ask("ann", "GET", f"/v1/jobs/{prefix}").json()["id"] == mine.id
    for who in ("bob", "root"):
        problem = problem_of(ask(who, "GET", f"/v1/jobs/{prefix}"))
        assert problem["code"] == "not_found"
        assert "several" in problem["detail"]
        assert mine.id not in problem["detail"]
    missing = problem_of(ask("ann", "GET", f"/v1/jobs/{others[0].id}"))
    unknown = problem_of(ask("ann", "GET", "/v1/jobs/zzzzzzzzzzzzz"))
    assert missing["detail"].replace(others[0].id, "") == unknown["detail"].replace("zzzzzzzzzzzzz", "")


def test_an_administrator_steers_the_job_of_somebody_else_and_the_audit_says_so(
    ask: Asks, store: Store, people: People
) -> None:
    job = running_job(store, owner="bob")
    response = ask("root", "POST", f"/v1/jobs/{job.id}/cancel")
    assert (response.status_code, response.json()["wish"]) == (202, "cancel")
    entry = store.audit(job_id=job.id)[0]
    assert (entry.owner, entry.token_id, entry.action) == ("root", people.ids["root"], "job.cancel")
