"""The page docs/api.md: every route of the HTTP API and every problem, from its OpenAPI document."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.api import create_app
from service.api.openapi import TAGS, operations
from service.api.problems import KINDS
from service.settings import Settings
from service.store import Store, sqlite_url

HEAD = """\
# The HTTP API

`GET /openapi.json` describes every route, parameter and answer to programs; this page says the same to
people. For Python there is a [client](client.md), for a terminal the [command line](cli.md).

```console
$ export SERVER=http://127.0.0.1:8400 TOKEN="Authorization: Bearer tl_..."
$ curl -H "$TOKEN" -H "Content-Type: application/yaml" --data-binary @spec.yaml $SERVER/v1/jobs
$ curl -N -H "$TOKEN" -H "Accept: text/event-stream" $SERVER/v1/jobs/0hame/events
$ curl -H "$TOKEN" $SERVER/v1/jobs/0hame/bundle | tar xz
```

## What holds everywhere

- **Who asks.** `Authorization: Bearer tl_...`. A token has an owner and a role: a *viewer* reads the owner's
  jobs, a *submitter* submits and steers them as well, an *admin* may do everything with the jobs of all
  owners. A job of somebody else answers 404: that it exists is not told. Tokens end at `expires_at`, and at
  once when they are revoked. Their secrets are in the answer that makes them and nowhere else.
- **Ids.** The beginning of a job's id will do where no other job that you may see shares it.
- **Pages.** `limit` and `cursor`; `next_cursor` of one page is the `cursor` of the next, null on the last.
  Jobs that come while you read repeat none and hide none.
- **Sent twice, done once.** With `Idempotency-Key`, submitting the same spec and priority again answers the
  job that is there (200 in the place of 201), whatever the spec's file looks like; another spec under the key
  is a conflict.
- **Limits.** Requests of a token in a minute and in a second, bytes of a body, open streams, plans at once:
  the server's [settings](operations.md) say how many. `Retry-After` says when to come back.
- **Specs.** [JSON or YAML](spec.md), YAML up to 64 KiB and without aliases. Paths are the server's: they lie
  below its data roots, links followed, relative ones start at the first root, and hold neither `${NAME}` nor
  `~` (the client and `tuneladder submit` fill in a file's `${NAME}` before they send it). Modules of your own are
  of packages that the server allows.
- **Requests** carry `X-Request-Id`, yours or a new one; the server's log knows it.

## Events

With `Accept: text/event-stream` a job's events come as they happen, all from number 0 on: `id` is the number,
`event` the kind, `data` the event as JSON. `Last-Event-ID` (or `after=`) goes on behind a number; nothing is
lost and nothing comes twice, from whichever server. Comments break the silence. The stream ends when the job
has completed, failed or was cancelled; one that ends before was cut: connect again. Without the header the
same events come in pages.

| kind | says |
| --- | --- |
| `job` | state, message, priority, wish, worker, attempt, best_trial |
| `plan` | stages, metric, mode |
| `round` | number, stage, trials, rungs |
| `leg` | key, start_epoch, end_epoch, wall_s, members: trial, state, epochs, value of the objective |
| `rung` | stopped: trials |
| `stage` | number, name, state, outcome |
| `export` | id, state, trial, message |

## Routes
"""
PROBLEMS = """\
## Problems

Every answer that is no success is `application/problem+json` ([RFC
9457](https://www.rfc-editor.org/rfc/rfc9457)): `type`, `title`, `status`, `detail`, `code`, `instance`, and
`field` where one field is wrong: its dotted path in the spec, or one that begins with `body`, `query`, `path`
or `header`.
"""
PROBE = """\
## Health and metrics

`/healthz` answers while the process does, `/readyz` while the store does too; both are open, and are not
logged. `/metrics` is for Prometheus, with a token of any role: `tuneladder_http_requests_total` by route,
method and status, `tuneladder_http_request_seconds` until the answer began, `tuneladder_jobs` by state,
`tuneladder_queue_length`, `tuneladder_workers` heard of lately, `tuneladder_watchers`.
"""
ROUTE_COLUMNS = ("route", "for", "what", "parameters", "answers")
PROBLEM_COLUMNS = ("status", "code", "what")


def document() -> dict[str, Any]:
    """Make the OpenAPI document as a server would."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Store.open(sqlite_url(home / "store.db")) as store:
            openapi: dict[str, Any] = create_app(Settings(home=home), store).openapi()
            return openapi


def sections() -> Iterator[tuple[str, str, list[list[str]]]]:
    """Give the routes of each tag: title, description, rows."""
    described = document()
    for tag in TAGS:
        rows = [
            _row(method, path, operation)
            for path, method, operation in operations(described)
            if operation["tags"] == [tag["name"]]
        ]
        yield tag["name"].capitalize(), tag["description"], rows


def _row(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    names = [f"`{part['name']}`" for part in operation.get("parameters", ()) if part["in"] in ("query", "header")]
    answers = [status for status in operation["responses"] if status < "400"]
    refusals = [status for status in operation["responses"] if "400" < status < "500" and status in ("404", "409")]
    return [
        f"`{method} {path}`",
        operation["x-role"] or "anybody",
        operation["summary"],
        ", ".join(names),
        ", ".join([*answers, *refusals]),
    ]


def problem_rows() -> Iterator[list[str]]:
    """List the problems."""
    for code, kind in KINDS.items():
        yield [str(kind.status), f"`{code}`", kind.title.lower()]
