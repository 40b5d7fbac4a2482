"""Where the wall-clock of a job went, read from its record.

Every slot is there for the whole of a job, so its wall-clock times its slots is shared out, without a rest, among

training         epochs, with their validation
in_slots         the rest of a leg: what it needs is unpacked, networks are made, checkpoints packed
waiting          a slot has no leg while another one has: rungs end together, and slots start one after another
handing_over     no slot has a leg: results are recorded, a rung is decided, legs are sent
asking           the search is told of a round and asks for the next one
start            until the first leg began, without the checks
checks           the overfit check before the search
test_and_bundle  from the last leg's record until the winner's bundle was written
tracking         what was left for MLflow then

A leg's record says when it was recorded and how long it took, not when it began: a leg is taken to have ended when
it was recorded. So a little of `handing_over` counts as its neighbours' time; the shares of training, `in_slots`,
`start` and what comes after the last leg do not depend on it. In the ladder's last stage slots may train while the
search asks: `asking` holds that time too, and `waiting` is as much too small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from service.store import EventRecord, Store, TrialRecord

TRAINING = "training"


@dataclass(frozen=True, kw_only=True)
class LegTime:
    """One leg, in seconds since the job's clock began."""

    began: float
    ended: float
    trained_s: float  # of it, in epochs: over all members


@dataclass(frozen=True, kw_only=True)
class RoundTime:
    """One round, in seconds since the job's clock began."""

    began: float
    ended: float  # the next round began, or the last leg was recorded
    trials: int
    epochs: int  # trained, over all its trials


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A job's moments and durations, in seconds since its clock began."""

    num_slots: int
    wall_s: float
    winner_s: float  # the winner's bundle is there
    checks_s: float
    asking_s: float
    legs: tuple[LegTime, ...]
    rounds: tuple[RoundTime, ...]


def share_out(timeline: Timeline) -> dict[str, float]:
    """Give each part's share of the time of all slots; together they are 1.

    Raises:
        ValueError: There is no leg.
    """
    if not timeline.legs:
        raise ValueError("a job's time is shared out by its legs, got none")
    slots = timeline.num_slots
    first, last = min(leg.began for leg in timeline.legs), max(leg.ended for leg in timeline.legs)
    in_legs = sum(leg.ended - leg.began for leg in timeline.legs)
    trained = sum(leg.trained_s for leg in timeline.legs)
    idle = max(0.0, slots * (last - first - timeline.asking_s) - in_legs)
    nobody_trains = last - first - covered((leg.began, leg.ended) for leg in timeline.legs) - timeline.asking_s
    handing_over = min(idle, slots * max(0.0, nobody_trains))
    parts = {
        TRAINING: trained,
        "in_slots": in_legs - trained,
        "waiting": idle - handing_over,
        "handing_over": handing_over,
        "asking": slots * timeline.asking_s,
        "start": slots * (first - timeline.checks_s),
        "checks": slots * timeline.checks_s,
        "test_and_bundle": slots * (timeline.winner_s - last),
        "tracking": slots * (timeline.wall_s - timeline.winner_s),
    }
    return {name: part / (slots * timeline.wall_s) for name, part in parts.items()}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Say how much of a line spans cover that may lie over each other."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def growth(rounds: Sequence[RoundTime], *, num_trials: int = 100) -> dict[str, float]:
    """Compare the time of a trial at a job's beginning and at its end.

    Trials of a round begin together and rungs end together, so whole rounds are counted: the first ones that hold
    so many trials, and the last ones.

    Args:
        rounds: In their order.
        num_trials: At each end; a third of the job's where it has not three times as many.

    Returns:
        Trials that count at each end, seconds a trial at each, the ratio of the last to the first, and the same
        ratio of seconds a trial-epoch: trials are not equally long.
    """
    wanted = min(num_trials, sum(one.trials for one in rounds) // 3)
    early, late = _take(rounds, wanted), _take(rounds[::-1], wanted)
    first, last = _seconds(early), _seconds(late)
    return {
        "first_trials": sum(one.trials for one in early),
        "last_trials": sum(one.trials for one in late),
        "first_trial_s": first / sum(one.trials for one in early),
        "last_trial_s": last / sum(one.trials for one in late),
        "ratio": (last / sum(one.trials for one in late)) / (first / sum(one.trials for one in early)),
        "ratio_by_epoch": (last / sum(one.epochs for one in late)) / (first / sum(one.epochs for one in early)),
    }


def _take(rounds: Sequence[RoundTime], num_trials: int) -> list[RoundTime]:
    taken: list[RoundTime] = []
    for one in rounds:
        taken.append(one)
        if sum(each.trials for each in taken) >= num_trials:
            break
    return taken


def _seconds(rounds: Sequence[RoundTime]) -> float:
    return max(one.ended for one in rounds) - min(one.began for one in rounds)


def read_timeline(store: Store, job_id: str, *, num_slots: int) -> Timeline:
    """Read a job's times from its record.

    Args:
        store: The job is in it.
        job_id: A completed job that was run in one go.
        num_slots: That it ran on.

    Raises:
        ValueError: The job has not completed.
    """
    job, events = store.job(job_id), _all_events(store, job_id)
    if job.result is None:
        raise ValueError(f"the time of a completed job is shared out, got job {job_id}, which is {job.state}")
    winner_s = float(job.result["winner_s"])
    done = next(event.at for event in reversed(events) if event.kind == "job")

    def since_start(moment: datetime) -> float:
        return winner_s + (moment - done).total_seconds()

    legs = [(leg, store.leg_result(job_id, leg.key, leg.fingerprint)) for leg in store.legs(job_id)]
    return Timeline(
        num_slots=num_slots,
        wall_s=job.active_s,
        winner_s=winner_s,
        checks_s=sum(probe.wall_s for probe in store.probes(job_id)),
        asking_s=_asking_s(events),
        legs=tuple(
            LegTime(
                began=since_start(leg.recorded_at) - leg.wall_s,
                ended=since_start(leg.recorded_at),
                trained_s=sum(member.train_s for member in result.members) if result else 0.0,
            )
            for leg, result in legs
        ),
        rounds=_rounds(store, job_id, since_start),
    )


def _all_events(store: Store, job_id: str) -> list[EventRecord]:
    events: list[EventRecord] = []
    while page := store.events(job_id, after=events[-1].number if events else -1):
        events += page
    return events


def _asking_s(events: Sequence[EventRecord]) -> float:
    """Sum the time between the last event of a round's training and the next round, from leg to leg."""
    kinds = [event.kind for event in events]
    first, last = kinds.index("leg"), len(kinds) - kinds[::-1].index("leg")
    between = pairwise(events[first:last])
    return sum(
        (after.at - before.at).total_seconds() for before, after in between if after.kind in ("round", "stage")
    )


def _rounds(store: Store, job_id: str, since_start: Callable[[datetime], float]) -> tuple[RoundTime, ...]:
    legs = store.legs(job_id)
    trials: dict[int, list[TrialRecord]] = {}
    for trial in store.trials(job_id):
        trials.setdefault(trial.round, []).append(trial)
    starts = [since_start(trials[number][0].created_at) for number in sorted(trials)]
    starts[0] = min(since_start(leg.recorded_at) - leg.wall_s for leg in legs)  # the slots' start is not a trial's
    ends = [*starts[1:], since_start(legs[-1].recorded_at)]
    return tuple(
        RoundTime(
            began=began,
            ended=ended,
            trials=len(trials[number]),
            epochs=sum(trial.epochs for trial in trials[number]),
        )
        for number, began, ended in zip(sorted(trials), starts, ends, strict=True)
    )
