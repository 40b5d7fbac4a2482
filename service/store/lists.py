"""Pages of jobs: filtered, sorted, and cut at a cursor that stays right while jobs come and go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Select, case, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from service.errors import InvalidSpecError
from service.store.database import Database
from service.store.records import JobRecord, JobSummary, Tally
from service.store.rows import SUMMARY_COLUMNS, job_record, job_summary
from service.store.states import JobState
from service.store.tables import JobRow, TrialRow

JobSort = Literal["created", "updated", "priority"]

_Query = TypeVar("_Query", bound=Select[*tuple[Any, ...]])
_SORTED_BY: dict[JobSort, InstrumentedAttribute[Any] | None] = {
    "created": None,  # an id sorts by time
    "updated": JobRow.updated_at,
    "priority": JobRow.priority,
}


class Lists(Database):
    """What the store answers about many jobs at once."""

    def jobs(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        state: JobState | None = None,
        states: Sequence[JobState] | None = None,
        owner: str | None = None,
        name: str | None = None,
        sort: JobSort = "created",
        descending: bool = True,
    ) -> tuple[JobRecord, ...]:
        """List jobs with their documents, newest first.

        Args:
            limit: At most this many.
            after: The `job_cursor` of the last job of the page before, under the same sort.
            state: Only jobs in this state.
            states: Only jobs in one of these states.
            owner: Only jobs of this owner.
            name: Only jobs of this name.
            sort: By the time they were made, the time of their last event, or priority; then by id.
            descending: Newest, or highest priority, first.

        Raises:
            InvalidSpecError: The cursor is not one of this sort.
        """
        wanted = _wanted(state, states, owner, name)
        query = _page(select(JobRow).where(*wanted), limit, after, sort, descending)
        with self._asking() as session:
            return tuple(job_record(row) for row in session.scalars(query))

    def job_rows(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        state: JobState | None = None,
        states: Sequence[JobState] | None = None,
        owner: str | None = None,
        name: str | None = None,
        sort: JobSort = "created",
        descending: bool = True,
    ) -> tuple[JobSummary, ...]:
        """List jobs without their documents; takes what `jobs` takes, and is several times as fast."""
        wanted = _wanted(state, states, owner, name)
        query = _page(select(*SUMMARY_COLUMNS).where(*wanted), limit, after, sort, descending)
        with self._asking() as session:
            return tuple(job_summary(row) for row in session.execute(query))

    def tallies(self, job_ids: Collection[str]) -> dict[str, Tally]:
        """Count the trials and epochs of several jobs, and give their winners' values, in one query."""
        is_best = TrialRow.number == JobRow.best_trial
        query = (
            select(
                TrialRow.job_id,
                func.count().label("num_trials"),
                func.sum(TrialRow.epochs).label("num_epochs"),
                func.max(case((is_best, TrialRow.best_value))).label("best_value"),
            )
            .join(JobRow, JobRow.id == TrialRow.job_id)
            .where(TrialRow.job_id.in_(job_ids))
            .group_by(TrialRow.job_id)
        )
        tallies = dict.fromkeys(job_ids, Tally())
        with self._asking() as session:
            for row in session.execute(query):
                tallies[row.job_id] = Tally(
                    num_trials=row.num_trials, num_epochs=int(row.num_epochs), best_value=row.best_value
                )
        return tallies

    def num_jobs(self, *, owner: str | None = None) -> dict[JobState, int]:
        """Count the jobs in each state."""
        query = select(JobRow.state, func.count()).where(*_wanted(None, None, owner, None)).group_by(JobRow.state)
        with self._asking() as session:
            found = {JobState(state): count for state, count in session.execute(query)}
        return {state: found.get(state, 0) for state in JobState}


def job_cursor(job: JobSummary, sort: JobSort = "created") -> str:
    """Name a job's place in a list, for `after`; opaque to whoever passes it on."""
    match sort:
        case "created":
            return job.id
        case "updated":
            return f"{job.updated_at.isoformat()}~{job.id}"
        case "priority":
            return f"{job.priority}~{job.id}"


def _wanted(
    state: JobState | None, states: Sequence[JobState] | None, owner: str | None, name: str | None
) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(JobRow.state == state)
    if states is not None:
        wanted.append(JobRow.state.in_(states))
    if owner is not None:
        wanted.append(JobRow.owner == owner)
    if name is not None:
        wanted.append(JobRow.name == name)
    return wanted


def _page(query: _Query, limit: int, after: str | None, sort: JobSort, descending: bool) -> _Query:
    by = _SORTED_BY[sort]
    columns = [JobRow.id] if by is None else [by, JobRow.id]
    if after is not None:
        place = tuple_(*_place(after, sort))
        query = query.where(tuple_(*columns) < place if descending else tuple_(*columns) > place)
    return query.order_by(*(column.desc() if descending else column.asc() for column in columns)).limit(limit)


def _place(cursor: str, sort: JobSort) -> tuple[Any, ...]:
    if sort == "created":
        return (cursor,)
    value, _, job_id = cursor.partition("~")
    try:
        place: Any = datetime.fromisoformat(value) if sort == "updated" else int(value)
        if isinstance(place, datetime) and place.tzinfo is None:
            raise ValueError
        if isinstance(place, int) and abs(place) > 2**31:  # more than the column holds
            raise ValueError
    except ValueError:
        raise InvalidSpecError(
            f"a cursor comes from the page before, sorted in the same way, got {cursor!r} for {sort}: "
            "start at the first page",
            field="cursor",
        ) from None
    return place, job_id
