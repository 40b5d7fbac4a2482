"""The client: one method for each thing that the API does."""

from __future__ import annotations

import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from service.bundle_files import check_free
from service.client.answers import Answers
from service.client.errors import ServerUnreachableError
from service.client.events import Event
from service.client.models import (
    AuditEntry,
    Best,
    Export,
    Job,
    Me,
    NewToken,
    Page,
    Plan,
    Role,
    Stage,
    SubmittedJob,
    Token,
    Trial,
)
from service.client.spec_body import SpecLike, spec_body
from service.client.transport import Transport
from service.client.unpacking import unpack_bundle
from service.client.watching import Watch
from service.errors import NotFoundError

TIMEOUT_S = 30.0
_JOB_ID = re.compile(r"[0-9a-z]{1,32}")
PLAN_TIMEOUT_S = 300.0  # the server reads the data for it


def _say_nothing(_: str) -> None:
    pass


class Client:
    """Talks to a tuneladder server; every method is one request unless it says otherwise.

    A GET is tried again when the server is away for a moment, and so is `submit`, which the server takes once. All
    methods raise `ServerUnreachableError`, `NotTuneladderError` and `ApiError` (`service.client.errors`).

    Args:
        url: The server's address, such as `http://localhost:8400`.
        token: What the server's administrator has given you.
        timeout_s: How long the server may be silent before a request fails.

    Raises:
        InvalidSpecError: `url` or `token` cannot be one.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._transport = Transport(url, token, timeout_s=timeout_s)
        self._answers = Answers(self._transport)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def me(self) -> Me:
        """Say whose token this is."""
        return self._answers.get("/v1/me", Me)

    # Jobs

    def submit(
        self, spec: SpecLike, *, priority: int | None = None, idempotency_key: str | None = None
    ) -> SubmittedJob:
        """Submit a job.

        Args:
            spec: A mapping, or the path of a YAML or JSON file. Paths in it are the server's.
            priority: Higher ones run first; default 0.
            idempotency_key: Submitting the same spec again with the same key answers the first job. By default
                each call has a key of its own: a lost answer makes no second job, a second call does.

        Raises:
            ApiSpecError: The spec breaks a rule.
            ApiConflictError: The key was used for another spec.
        """
        key = idempotency_key or uuid.uuid4().hex
        content, kind = spec_body(spec)
        try:
            response = self._transport.ask(
                "POST",
                "/v1/jobs",
                params={"priority": priority},
                content=content,
                headers={"Content-Type": kind, "Idempotency-Key": key},
                repeatable=True,
            )
        except ServerUnreachableError as error:
            error.idempotency_key = key if error.may_have_arrived else None
            raise
        body = self._transport.read_json(response)
        return self._answers.read({**body, "is_repeat": response.status_code == 200}, SubmittedJob)

    def plan(self, spec: SpecLike) -> Plan:
        """Show what a job would do: stages, epochs, an estimate of time. Nothing is kept; takes a while.

        Raises:
            ApiSpecError: The spec breaks a rule.
        """
        content, kind = spec_body(spec)
        headers = {"Content-Type": kind}
        answer = self._transport.ask_json(
            "POST", "/v1/plans", content=content, headers=headers, timeout_s=PLAN_TIMEOUT_S
        )
        return self._answers.read(answer, Plan)

    def jobs(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        owner: str | None = None,
        sort: str = "-created",
        limit: int | None = None,
    ) -> Iterator[Job]:
        """List jobs, a request for each page, as they are needed; without spec, plan and result.

        Args:
            state: Only jobs in this state.
            name: Only jobs of this name.
            owner: Only jobs of this owner; for administrators.
            sort: `created`, `updated` or `priority`; with a `-` in front, descending.
            limit: At most this many; default all.
        """
        params = {"state": state, "name": name, "owner": owner, "sort": sort}
        return self._answers.pages("/v1/jobs", Job, params, limit=limit)

    def job(self, job_id: str) -> Job:
        """Show a job, whole; `job_id` may be the beginning of an id.

        Raises:
            ApiNotFoundError: There is none that this token may see.
        """
        return self._answers.get(_path(job_id), Job)

    def stages(self, job_id: str) -> list[Stage]:
        """List the stages of a job's plan."""
        return list(self._answers.get(_path(job_id, "stages"), Page[Stage]).items)

    def trials(self, job_id: str, *, measurements: bool = False, limit: int | None = None) -> Iterator[Trial]:
        """List a job's trials, a request for each page.

        Args:
            job_id: The job.
            measurements: With every epoch's metrics.
            limit: At most this many; default all.
        """
        params = {"measurements": "true" if measurements else None}
        return self._answers.pages(_path(job_id, "trials"), Trial, params, limit=limit)

    def trial(self, job_id: str, number: int) -> Trial:
        """Show a trial with its measurements."""
        return self._answers.get(_path(job_id, "trials", str(number)), Trial)

    def best(self, job_id: str) -> Best:
        """Show a finished job's winner.

        Raises:
            ApiConflictError: The job has none yet.
        """
        return self._answers.get(_path(job_id, "best"), Best)

    def pause(self, job_id: str) -> Job:
        """Pause a job at the end of the leg under way."""
        return self._answers.post(_path(job_id, "pause"), Job)

    def resume(self, job_id: str) -> Job:
        """Put a paused or failed job back into the queue; it goes on from its record."""
        return self._answers.post(_path(job_id, "resume"), Job)

    def cancel(self, job_id: str) -> Job:
        """End a job for good, at the end of the leg under way."""
        return self._answers.post(_path(job_id, "cancel"), Job)

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Give a job another priority; higher ones run first."""
        answer = self._transport.ask_json("PUT", _path(job_id, "priority"), body={"priority": priority})
        return self._answers.read(answer, Job)

    # Following a job

    def watch(
        self,
        job_id: str,
        *,
        after: int = -1,
        patience_s: float = 300.0,
        say: Callable[[str], None] = _say_nothing,
    ) -> Iterator[Event]:
        """Give a job's events from the first one on, as they happen, until it completes, fails or is cancelled.

        When the connection breaks it is made again, and goes on behind the last event.

        Args:
            job_id: The job.
            after: Only events behind this number.
            patience_s: How long a server may be away.
            say: Hears of broken connections.
        """
        watch = Watch(
            transport=self._transport,
            path=_path(job_id, "events"),
            is_over=lambda: self.job(job_id).is_final,
            patience_s=patience_s,
            say=say,
        )
        return watch.events(after)

    def wait(self, job_id: str, *, timeout_s: float | None = None, poll_s: float = 2.0) -> Job:
        """Wait until a job has completed, failed or is cancelled, asking now and then.

        Raises:
            TimeoutError: It has not within `timeout_s`.
        """
        began = time.monotonic()
        pause_s = min(0.1, poll_s)
        while not (job := self.job(job_id)).is_final:
            left_s = float("inf") if timeout_s is None else timeout_s - (time.monotonic() - began)
            if left_s <= 0:
                raise TimeoutError(f"job {job.id} is {job.state} after {timeout_s:g} s: wait longer, or watch it")
            time.sleep(min(pause_s, left_s))
            pause_s = min(1.5 * pause_s, poll_s)
        return job

    # Bundles

    def export(self, job_id: str, *, formats: Sequence[str] | None = None) -> Export:
        """Have the winner's bundle written again, such as with other formats; `exports` tells when it is there."""
        return self._answers.post(
            _path(job_id, "exports"), Export, body={"formats": list(formats)} if formats else {}
        )

    def exports(self, job_id: str) -> list[Export]:
        """List the bundles of a job, oldest first."""
        return list(self._answers.get(_path(job_id, "exports"), Page[Export]).items)

    def download(self, job_id: str, to: str | os.PathLike[str], *, export: int | None = None) -> Path:
        """Fetch a bundle, check its files against their checksums, and write them to a new folder.

        Args:
            job_id: The job.
            to: The folder; it must not exist.
            export: Which bundle; default: the latest.

        Raises:
            ConflictError: Something stands at `to`, or the job has no bundle yet.
            NotTuneladderError: What arrived is no whole bundle.
        """
        folder = check_free(Path(to).expanduser().absolute())
        path = _path(job_id, "bundle") if export is None else _path(job_id, "exports", str(export), "bundle")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            self._transport.fetch(path, file, kind="application/gzip")
            file.seek(0)
            return unpack_bundle(file, folder)

    # What there is to tune

    def spaces(self) -> dict[str, dict[str, Any]]:
        """Give the search spaces of all families, by name."""
        return self._answers.get("/v1/spaces", dict[str, dict[str, Any]])

    def space(self, family: str) -> dict[str, Any]:
        """Give the search space of a family."""
        return self._answers.get(_join("/v1/spaces", family), dict[str, Any])

    def families(self) -> list[dict[str, Any]]:
        """List the families of networks."""
        return self._answers.get("/v1/families", list[dict[str, Any]])

    def datasets(self) -> list[dict[str, Any]]:
        """List the data sets that a spec can name."""
        return self._answers.get("/v1/datasets", list[dict[str, Any]])

    # For administrators

    def tokens(self, *, owner: str | None = None) -> Iterator[Token]:
        """List tokens, without their secrets."""
        return self._answers.pages("/v1/tokens", Token, {"owner": owner}, limit=None)

    def create_token(self, name: str, *, owner: str, role: Role, expires_at: datetime | None = None) -> NewToken:
        """Make a token; its secret is in the answer and nowhere else.

        Args:
            name: What it is for.
            owner: Whose jobs it may see.
            role: What it may do.
            expires_at: When it ends; default never.
        """
        moment = expires_at.isoformat() if expires_at else None
        body = {"name": name, "owner": owner, "role": role, "expires_at": moment}
        return self._answers.post("/v1/tokens", NewToken, body=body)

    def revoke_token(self, token_id: str) -> None:
        """End a token for good."""
        self._transport.ask("DELETE", _join("/v1/tokens", token_id))

    def audit(self, *, limit: int | None = None) -> Iterator[AuditEntry]:
        """List who changed what, newest first, a request for each page."""
        return self._answers.pages("/v1/audit", AuditEntry, {}, limit=limit)


def _join(*parts: str) -> str:
    return "/".join([parts[0], *(quote(part, safe="") for part in parts[1:])])


def _path(job_id: str, *rest: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise NotFoundError(f"no job has the id {job_id!r}: `tuneladder jobs` lists them")
    return _join("/v1/jobs", job_id, *rest)
