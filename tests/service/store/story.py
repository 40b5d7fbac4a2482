"""Jobs, rounds and legs for the tests of the store, as short as they can be and still real."""

from __future__ import annotations

from collections.abc import Sequence

from service.legs import Leg, LegResult, Measurement, Member, MemberResult, MemberState
from service.store import JobRecord, NewStage, NewTrial, Store

STAGES = (
    NewStage(number=0, name="lr", opens=("lr",), why="it matters most"),
    NewStage(number=1, name="dropout, width", opens=("dropout", "width"), why="next in the order"),
)


def queued_job(store: Store, *, name: str = "digits", spec_fingerprint: str = "spec-1") -> JobRecord:
    return store.create_job(
        name=name,
        spec={"name": name, "search": {"rungs": {"min_epochs": 2}}},
        spec_fingerprint=spec_fingerprint,
        base_dir="/data",
        seed=2**62,
    )


def record_plan(store: Store, job_id: str, **changes: object) -> None:
    values: dict[str, object] = {
        "plan": {"epochs": 60},
        "stages": STAGES,
        "metric": "val_accuracy",
        "mode": "max",
        "data_fingerprint": "data-1",
    }
    store.record_plan(job_id, **(values | changes))  # type: ignore[arg-type]


def running_job(store: Store, *, num_trials: int = 3) -> JobRecord:
    """A running job with a plan and its first round of trials 0, 1, ..."""
    job = queued_job(store)
    store.start_job(job.id)
    record_plan(store, job.id)
    store.record_round(job.id, stage=0, round_number=0, trials=new_trials(range(num_trials)), rungs=[2, 6])
    return store.job(job.id)


def new_trials(numbers: Sequence[int]) -> list[NewTrial]:
    return [NewTrial(number=n, params={"lr": 10.0**-n, "norm": None, "taper": True}, seed=n) for n in numbers]


def a_leg(numbers: Sequence[int], *, start: int = 0, end: int = 2, key: str | None = None) -> Leg:
    members = tuple(Member(number=t.number, params=t.params, seed=t.seed) for t in new_trials(numbers))
    return Leg(key=key or f"r0000-e{end:04d}-c00", members=members, start_epoch=start, end_epoch=end)


def accuracy(trial: int, epoch: int) -> float:
    """Any curve that differs by trial and has its best epoch at 4."""
    return 0.9 - 0.1 * trial - 0.01 * abs(epoch - 4)


def a_member(
    number: int, *, start: int = 0, end: int = 2, state: MemberState = "running", message: str | None = None
) -> MemberResult:
    measurements = tuple(
        Measurement(epoch=e, metrics={"val_accuracy": accuracy(number, e), "train_loss": 1 / e})
        for e in range(start + 1, end + 1)
    )
    return MemberResult(
        number=number, state=state, measurements=measurements, message=message, checkpoint=b"w", train_s=0.5
    )


def a_result(leg: Leg, *members: MemberResult, attempt: int = 1) -> LegResult:
    own = {member.number: member for member in members}
    all_members = tuple(
        own.get(m.number) or a_member(m.number, start=leg.start_epoch, end=leg.end_epoch) for m in leg.members
    )
    return LegResult(key=leg.key, members=all_members, slot=1, attempt=attempt, wall_s=2.0, device="cpu")
