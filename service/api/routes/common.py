"""What several routes take."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query

from service.api.auth import Caller
from service.api.bodies import JSON
from service.api.negotiation import offers
from service.api.problems import ProblemError
from service.api.state import State
from service.errors import InvalidSpecError, NotFoundError
from service.store import JobRecord

PREFIX = "/v1"
MAX_PAGE = 200
MAX_NUMBER = 2**31 - 1

JobId = Annotated[
    str, Path(pattern=r"^[0-9a-z]{1,32}$", description="of a job, or a beginning that no other job of yours has")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="items at most")]
Cursor = Annotated[
    str | None,
    Query(pattern=r"^[0-9A-Za-z:.+~_-]{1,100}$", description="`next_cursor` of the page before"),
]
AsJson = Depends(offers(JSON))


async def find_job(state: State, caller: Caller, job_id: str) -> JobRecord:
    """Find a job that the caller may see.

    Raises:
        ProblemError: There is none; another owner's is as if it were not there.
    """
    return await state.threads.run(find_job_now, state, caller, job_id)


def find_job_now(state: State, caller: Caller, job_id: str) -> JobRecord:
    """Find a job as `find_job` does, in a thread that may wait."""
    try:
        return state.store.job(job_id, owner=caller.scope)
    except NotFoundError as error:
        remedy = "give more of the id" if "several" in str(error) else "GET /v1/jobs lists those that you may see"
        found = "several jobs begin with" if "several" in str(error) else "no job has the id"
        raise ProblemError("not_found", f"{found} {job_id!r}: {remedy}") from None


def number_after(cursor: str | None) -> int | None:
    """Read a cursor that is a number.

    Raises:
        ProblemError: It is none.
    """
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or int(cursor) > MAX_NUMBER:
        raise bad_cursor(cursor)
    return int(cursor)


def bad_cursor(cursor: Any, error: InvalidSpecError | None = None) -> ProblemError:
    """Say that a cursor is not one of this list."""
    reason = f"a cursor comes from the page before, got {cursor!r}: start at the first page"
    return ProblemError("invalid_request", str(error or reason).removeprefix("cursor: "), field="query.cursor")
