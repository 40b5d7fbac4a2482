"""States move only along one table, in Python and in the database itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from story import a_leg, a_member, a_result, new_trials, queued_job, record_plan, running_job

from service.errors import ConflictError
from service.store import JobState, PostgresOptions, StageState, Store, TrialState
from service.store.engines import make_engine
from service.store.states import EXPORT_MOVES, JOB_MOVES, STAGE_MOVES, TRIAL_MOVES

TABLES: list[tuple[str, Mapping, set[str]]] = [
    ("jobs", JOB_MOVES, {"queued"}),
    ("stages", STAGE_MOVES, {"pending"}),
    ("trials", TRIAL_MOVES, {"pending"}),
    ("exports", EXPORT_MOVES, {"queued", "completed"}),  # a job's own bundle is there when it is recorded
]
PAIRS = [(table, moves, now, to) for table, moves, _ in TABLES for now, to in product(moves, moves)]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A job with a stage, a trial and an export, behind the store's back."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('moves')}/store.db"
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_server").database())
        with Store.open(url) as store:
            store.record_export(running_job(store, num_trials=1).id, 0, "/bundle")
        engine = make_engine(url, PostgresOptions())  # in SQLite too, what it defines is rolled back
        yield engine
        engine.dispose()


@contextmanager
def rolled_back(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def stand_at(connection: Connection, table: str, state: str) -> None:
    """Bring the row to a state that it may not reach on its own."""
    trigger = f"guard_{table}_update"
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"))
        connection.execute(text(f"UPDATE {table} SET state = '{state}'"))
        connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}"))
        return
    found = connection.execute(text(f"SELECT sql FROM sqlite_master WHERE name = '{trigger}'")).scalar_one()
    connection.execute(text(f"DROP TRIGGER {trigger}"))
    connection.execute(text(f"UPDATE {table} SET state = '{state}'"))
    connection.execute(text(found))


@pytest.mark.parametrize(
    ("table", "moves", "now", "to"), PAIRS, ids=[f"{table}-{now}-{to}" for table, _, now, to in PAIRS]
)
def test_the_database_allows_the_moves_of_the_table_and_no_others(
    behind: Engine, table: str, moves: Mapping, now: StrEnum, to: StrEnum
) -> None:
    with rolled_back(behind) as connection:
        stand_at(connection, table, now)
        move = text(f"UPDATE {table} SET state = '{to}'")
        if to == now or to in moves[now]:
            assert connection.execute(move).rowcount >= 1
        else:
            with pytest.raises(IntegrityError, match=f"guard of {table}: this move is not allowed"):
                connection.execute(move)


@pytest.mark.parametrize("table", [table for table, _, _ in TABLES])
def test_the_database_knows_no_other_state(behind: Engine, table: str) -> None:
    with (
        rolled_back(behind) as connection,
        pytest.raises(IntegrityError, match=r"CHECK constraint failed|not allowed"),
    ):
        connection.execute(text(f"UPDATE {table} SET state = 'sleeping'"))


@pytest.mark.parametrize(("table", "moves", "first"), TABLES, ids=[table for table, _, _ in TABLES])
def test_a_new_row_starts_at_the_first_state(behind: Engine, table: str, moves: Mapping, first: set[str]) -> None:
    columns = [column["name"] for column in inspect(behind).get_columns(table)]
    key = "number" if table in {"stages", "trials"} else "id"
    for state in moves:
        chosen = {key: "'99'", "state": f"'{state}'", "idempotency_key": "NULL"}
        values = ", ".join(chosen.get(name, name) for name in columns)
        insert = text(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} LIMIT 1")
        with rolled_back(behind) as connection:
            if state in first:
                assert connection.execute(insert).rowcount == 1
            else:
                with pytest.raises(IntegrityError, match=f"guard of {table}: a new row is {next(iter(moves))}"):
                    connection.execute(insert)


def test_the_database_keeps_the_look_at_the_test_split(store: Store) -> None:
    job = running_job(store)
    store.claim_test_read(job.id, 0)
    store.record_test_metrics(job.id, {"test_accuracy": 0.5})
    engine = create_engine(store.url)
    for change in ("trial = 1", "metrics = NULL", "metrics = '{}'"):
        with (
            rolled_back(engine) as connection,
            pytest.raises(IntegrityError, match="the test split is read once"),
        ):
            connection.execute(text(f"UPDATE test_reads SET {change}"))
    engine.dispose()


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
