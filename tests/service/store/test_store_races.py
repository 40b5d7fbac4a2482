"""Real processes at the same database: what comes out is as if they had come one after the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from story import a_leg, a_result, queued_job, record_plan

from service.errors import LeaseLostError, StoreUnavailableError
from service.store import JobState, PostgresOptions, Store

HERE = Path(__file__).parent


def race(code: str, arguments: Sequence[Sequence[str]]) -> list:
    """Start a process for each list of arguments, let all go at once, and give what each of them says."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + code, *given],
            env=os.environ | {"PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for given in arguments
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return [json.loads(one) for one in said]


BEGIN = """
import json, sys
from service.errors import LeaseLostError
from service.store import JobState, Store, Wish
from story import a_leg, a_result, new_trials, queued_job
store = Store.open(sys.argv[1])
store.jobs(limit=1)
print("ready", flush=True)
sys.stdin.readline()
"""

CLAIM = """
claimed = []
while (job := store.claim_job(worker=sys.argv[2], lease_s=60)) is not None:
    claimed.append([job.id, job.attempt])
print(json.dumps(claimed))
"""


def test_a_job_is_claimed_by_exactly_one_worker(store: Store) -> None:
    """Six workers race for 30 jobs: none is claimed twice, and none is left."""
    ids = [queued_job(store).id for _ in range(30)]
    said = race(CLAIM, [[store.url, f"w{n}"] for n in range(6)])
    claimed = [(job_id, attempt) for one in said for job_id, attempt in one]
    assert sorted(claimed) == [(job_id, 1) for job_id in ids]
    by_worker = Counter(job.worker for job in store.jobs(state=JobState.RUNNING))
    assert by_worker == {f"w{n}": len(one) for n, one in enumerate(said) if one}


CLAIM_UP_TO = """
claimed = []
while (job := store.claim_job(worker=sys.argv[2], lease_s=60, max_running_per_owner=2)) is not None:
    claimed.append(job.owner)
print(json.dumps(claimed))
"""


def test_the_limit_of_an_owner_holds_in_a_race(store: Store) -> None:
    for owner in ("ann", "bob"):
        for _ in range(6):
            store.create_job(
                name="job", spec={}, spec_fingerprint="f", base_dir="/", seed=0, owner=owner, priority=1
            )
    said = race(CLAIM_UP_TO, [[store.url, f"w{n}"] for n in range(6)])
    assert Counter(owner for one in said for owner in one) == {"ann": 2, "bob": 2}


def test_claims_come_one_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a claim another one begins: it has to wait, or both would count the same running jobs."""
    monkeypatch.setattr("service.store.engines.BUSY_TIMEOUT_S", 0.05)
    for _ in range(2):
        store.create_job(name="job", spec={}, spec_fingerprint="f", base_dir="/", seed=0, owner="ann")
    options = {"lease_s": 60.0, "max_running_per_owner": 1}
    waited: list[StoreUnavailableError] = []
    with Store.open(store.url, postgres=PostgresOptions(lock_timeout_s=0.05)) as other:

        def meet(*given: Any) -> None:  # connection, cursor, statement, ...
            if given[2].startswith("UPDATE jobs") and not waited:
                with pytest.raises(StoreUnavailableError, match="try again") as raised:
                    other.claim_job(worker="other", **options)  # type: ignore[arg-type]
                waited.append(raised.value)

        event.listen(store._engine, "before_cursor_execute", meet)
        first = store.claim_job(worker="first", **options)  # type: ignore[arg-type]
        assert first is not None
        assert len(waited) == 1
        assert other.claim_job(worker="other", **options) is None  # type: ignore[arg-type]


CLAIM_AND_DIE = """
import os, signal
job = store.claim_job(worker="dying", lease_s=0.2)
fenced = store.fenced(job.id, job.attempt)
fenced.record_round(job.id, stage=0, round_number=0, trials=new_trials([0]), rungs=[2])
print(json.dumps(job.id), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
leg = a_leg([0])
try:
    fenced.record_leg(job.id, leg, a_result(leg), "f")
except LeaseLostError as error:
    print(json.dumps(str(error)))
"""


def test_who_wakes_up_after_its_lease_records_nothing(store: Store) -> None:
    """A process is stopped in the middle of its job; another one takes the job over, and the first wakes up."""
    job = queued_job(store)
    record_plan(store, job.id)
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + CLAIM_AND_DIE, store.url],
        env=os.environ | {"PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", f'"{job.id}"\n']
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    while (taken := store.claim_job(worker="next", lease_s=60)) is None:
        pass  # the lease of a fifth of a second has not ended yet
    assert (taken.id, taken.attempt, taken.num_deaths) == (job.id, 2, 1)
    leg = a_leg([0])
    store.fenced(job.id, 2).record_leg(job.id, leg, a_result(leg), "f")
    before = store.job(job.id), store.events(job.id), store.legs(job.id)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert "got attempt 1" in json.loads(said)
    assert (store.job(job.id), store.events(job.id), store.legs(job.id)) == before
    with pytest.raises(LeaseLostError):
        store.renew_lease(job.id, 1, 60)


WRITE_EVENTS = """
job_id, writer = sys.argv[2], int(sys.argv[3])
for number in range(20):
    trial = 100 * writer + number
    store.record_round(job_id, stage=0, round_number=trial, trials=new_trials([trial]), rungs=[2])
print(json.dumps(None))
"""

WATCH = """
seen = []
while len(seen) < int(sys.argv[4]):
    seen += [event.number for event in store.events(sys.argv[2], after=seen[-1] if seen else -1)]
print(json.dumps(seen))
"""


def test_events_have_no_gaps_and_a_watcher_misses_none(store: Store) -> None:
    """Four processes write about one job while another one watches it."""
    job = queued_job(store)
    store.start_job(job.id)
    record_plan(store, job.id)
    total = store.job(job.id).num_events + 4 * 20
    code = f"if sys.argv[3] == 'watch':\n{indented(WATCH)}\nelse:\n{indented(WRITE_EVENTS)}"
    writers = [[store.url, job.id, str(n)] for n in range(1, 5)]
    *_, seen = race(code, [*writers, [store.url, job.id, "watch", str(total)]])
    assert seen == list(range(total))
    assert [event.number for event in store.events(job.id)] == seen
    assert store.job(job.id).num_events == total
    rounds = [event.data["number"] for event in store.events(job.id) if event.kind == "round"]
    assert sorted(rounds) == sorted(100 * writer + n for writer in range(1, 5) for n in range(20))


def indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.strip().splitlines())


SUBMIT = """
made = []
for number in range(10):
    done = store.submit_job(
        name="job", spec={}, spec_fingerprint="f", base_dir="/", seed=0,
        owner="ann", idempotency_key=f"key-{number}", request_hash="h",
    )
    made.append([done.job.id, done.is_new])
print(json.dumps(made))
"""


def test_the_same_request_from_many_processes_makes_one_job(store: Store) -> None:
    """Five processes make the same ten requests: every request makes one job, and all of them hear of it."""
    said = race(SUBMIT, [[store.url]] * 5)
    assert len(store.jobs(limit=100)) == 10
    for number in range(10):
        answers = [one[number] for one in said]
        assert len({job_id for job_id, _ in answers}) == 1
        assert sum(is_new for _, is_new in answers) == 1


STEER = """
wishes = {"pause": lambda j: store.ask_for(j, Wish.PAUSE), "resume": store.resume_job,
          "claim": lambda j: store.claim_job(worker="w", lease_s=60),
          "release": lambda j: store.release_job(j, store.job(j).attempt)}
from service.errors import ConflictError
refused = 0
for _ in range(25):
    try:
        wishes[sys.argv[3]](sys.argv[2])
    except ConflictError:
        refused += 1
print(json.dumps(refused))
"""


def test_a_job_that_all_pull_at_tells_one_story(store: Store) -> None:
    """Pause, resume, claim and release come at once: the states that the events tell follow the table of moves."""
    from service.store.states import JOB_MOVES

    job = queued_job(store)
    race(STEER, [[store.url, job.id, what] for what in ("pause", "resume", "claim", "release")])
    told = [event.data for event in store.events(job.id)]
    for before, after in pairwise(told):
        moved = after["state"] != before["state"]
        assert not moved or after["state"] in JOB_MOVES[JobState(before["state"])]
        assert after["attempt"] - before["attempt"] == int(moved and after["state"] == "running")
    found = store.job(job.id)
    assert (found.state, found.attempt, found.wish) == (told[-1]["state"], told[-1]["attempt"], told[-1]["wish"])
