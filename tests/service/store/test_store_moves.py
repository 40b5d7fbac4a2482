"""States move only along one table, in Python and in the database itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from story import a_leg, a_member, a_result, new_trials, queued_job, record_plan, running_job

from service.errors import ConflictError
from service.store import JobState, StageState, Store, TrialState
from service.store.states import JOB_MOVES, STAGE_MOVES, TRIAL_MOVES

TABLES: list[tuple[str, Mapping]] = [("jobs", JOB_MOVES), ("stages", STAGE_MOVES), ("trials", TRIAL_MOVES)]
PAIRS = [(table, moves, now, to) for table, moves in TABLES for now, to in product(moves, moves)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> sqlite3.Connection:
    """A job with a stage and a trial, behind the store's back."""
    path = tmp_path_factory.mktemp("moves") / "store.db"
    with Store.open(f"sqlite:///{path}") as store:
        running_job(store, num_trials=1)
    return sqlite3.connect(path, isolation_level=None)


@pytest.mark.parametrize(
    ("table", "moves", "now", "to"), PAIRS, ids=[f"{table}-{now}-{to}" for table, _, now, to in PAIRS]
)
def test_the_database_allows_the_moves_of_the_table_and_no_others(
    database: sqlite3.Connection, table: str, moves: Mapping, now: StrEnum, to: StrEnum
) -> None:
    trigger = f"guard_{table}_update"
    sql = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", [trigger]).fetchone()[0]
    database.execute("BEGIN")
    try:
        database.execute(f"DROP TRIGGER {trigger}")  # only so that the row can stand at `now`
        database.execute(f"UPDATE {table} SET state = ?", [now])
        database.execute(sql)
        if to == now or to in moves[now]:
            database.execute(f"UPDATE {table} SET state = ?", [to])
        else:
            with pytest.raises(sqlite3.IntegrityError, match=f"guard of {table}: this move is not allowed"):
                database.execute(f"UPDATE {table} SET state = ?", [to])
    finally:
        database.execute("ROLLBACK")


@pytest.mark.parametrize("table", ["jobs", "stages", "trials"])
def test_the_database_knows_no_other_state(database: sqlite3.Connection, table: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"CHECK constraint failed|not allowed"):
        database.execute(f"UPDATE {table} SET state = 'sleeping'")


@pytest.mark.parametrize(("table", "moves"), TABLES)
def test_a_new_row_starts_at_the_first_state(database: sqlite3.Connection, table: str, moves: Mapping) -> None:
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    key = "id" if table == "jobs" else "number"
    for state in list(moves)[1:]:
        chosen = {key: "99", "state": f"'{state}'"}
        values = ", ".join(chosen.get(name, name) for name in columns)
        with pytest.raises(sqlite3.IntegrityError, match=f"guard of {table}: a new row is {next(iter(moves))}"):
            database.execute(f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1")


def test_the_database_keeps_the_look_at_the_test_split(store: Store) -> None:
    job = running_job(store)
    store.claim_test_read(job.id, 0)
    store.record_test_metrics(job.id, {"test_accuracy": 0.5})
    raw = sqlite3.connect(store.url.removeprefix("sqlite:///"))
    for change in ("trial = 1", "metrics = NULL", "metrics = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="the test split is read once"):
            raw.execute(f"UPDATE test_reads SET {change}")


class JobLife(RuleBasedStateMachine):
    """Whatever is called in whatever order: the store moves as the tables say, or refuses and changes nothing."""

    store: Store  # set by the test below

    def __init__(self) -> None:
        super().__init__()
        self.job_id = queued_job(self.store).id
        record_plan(self.store, self.job_id)
        self.store.record_round(self.job_id, stage=0, round_number=0, trials=new_trials(range(3)), rungs=[2])
        self.job_state = JobState.QUEUED
        self.trials = dict.fromkeys(range(3), (TrialState.PENDING, 0))

    @rule(to=st.sampled_from(list(JobState)))
    def the_job_is_moved(self, to: JobState) -> None:
        calls = {
            JobState.RUNNING: lambda: self.store.start_job(self.job_id),
            JobState.PAUSED: lambda: self.store.pause_job(self.job_id),
            JobState.COMPLETED: lambda: self.store.finish_job(self.job_id, best_trial=None, result={}),
            JobState.FAILED: lambda: self.store.fail_job(self.job_id, "why"),
            JobState.CANCELLED: lambda: self.store.cancel_job(self.job_id),
        }
        if to not in calls:
            return
        again = to is self.job_state is JobState.RUNNING
        if not again and to not in JOB_MOVES[self.job_state]:
            with pytest.raises(ConflictError, match=f"a {self.job_state} job cannot become {to}"):
                calls[to]()
            return
        calls[to]()
        self.job_state = to
        if to in {JobState.COMPLETED, JobState.CANCELLED}:
            for number, (state, epochs) in self.trials.items():
                if not state.is_final:
                    self.trials[number] = (TrialState.CANCELLED, epochs)

    @rule(
        number=st.integers(0, 2),
        start=st.sampled_from([0, 2, 4]),
        state=st.sampled_from(["running", "completed", "diverged", "failed"]),
    )
    def a_leg_is_recorded(self, number: int, start: int, state) -> None:
        end = start + 2
        leg = a_leg([number], start=start, end=end, key=f"t{number}-e{end}")
        if self.store.leg_result(self.job_id, leg.key, "f") is not None:
            return
        result = a_result(leg, a_member(number, start=start, end=end, state=state))
        now, epochs = self.trials[number]
        if self.job_state is JobState.RUNNING and not now.is_final and epochs == start:
            self.store.record_leg(self.job_id, leg, result, "f")
            self.trials[number] = (TrialState(state), end)
        else:
            with pytest.raises(ConflictError):
                self.store.record_leg(self.job_id, leg, result, "f")

    @precondition(lambda self: self.job_state is JobState.RUNNING)
    @rule(number=st.integers(0, 2))
    def a_trial_is_stopped(self, number: int) -> None:
        state, epochs = self.trials[number]
        if state in {TrialState.RUNNING, TrialState.STOPPED}:
            self.store.stop_trials(self.job_id, [number])
            self.trials[number] = (TrialState.STOPPED, epochs)
        else:
            with pytest.raises(ConflictError, match="only a running trial is stopped"):
                self.store.stop_trials(self.job_id, [number])

    @invariant()
    def the_store_says_the_same(self) -> None:
        assert self.store.job(self.job_id).state == self.job_state
        trials = self.store.trials(self.job_id)
        assert {t.number: (t.state, t.epochs) for t in trials} == self.trials
        for trial in trials:
            measured = [m.epoch for m in self.store.measurements(self.job_id, trial.number)]
            assert measured == list(range(1, trial.epochs + 1))
            assert (trial.ended_at is not None) == trial.state.is_final


def test_any_sequence_of_calls_keeps_to_the_moves(store: Store) -> None:
    class WithStore(JobLife):
        pass

    WithStore.store = store
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(WithStore, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))


def test_every_state_can_be_reached_and_every_end_is_an_end() -> None:
    for moves, first in ((JOB_MOVES, JobState.QUEUED), (STAGE_MOVES, StageState.PENDING)):
        reached = {first}
        while (more := reached.union(*(moves[state] for state in reached))) != reached:
            reached = more
        assert reached == set(moves)
    assert {state for state in TrialState if state.is_final} == set(TrialState) - {
        TrialState.PENDING,
        TrialState.RUNNING,
    }
