from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from story import a_leg, a_member, a_result, accuracy, new_trials, queued_job, record_plan, running_job

from service.errors import ConflictError, NotFoundError
from service.legs import LegResult, Measurement, MemberResult
from service.store import NewTrial, Store, TrialState


def test_a_round_puts_its_trials_on_record(store: Store) -> None:
    job = running_job(store)
    first = store.trials(job.id)[1]
    assert (first.number, first.stage, first.round, first.state, first.epochs) == (1, 0, 0, TrialState.PENDING, 0)
    assert first.params == {"lr": 0.1, "norm": None, "taper": True}
    assert store.rounds(job.id)[0].rungs == (2, 6)
    assert store.trial(job.id, 1) == first


def test_trials_are_listed_page_by_page(store: Store) -> None:
    job = running_job(store, num_trials=5)
    assert [trial.number for trial in store.trials(job.id, after=1, limit=2)] == [2, 3]
    with pytest.raises(NotFoundError, match=r"has no trial 5"):
        store.trial(job.id, 5)


def test_the_same_round_again_changes_nothing(store: Store) -> None:
    job = running_job(store)
    before = store.trials(job.id)
    store.record_round(job.id, stage=0, round_number=0, trials=new_trials([2, 0, 1]), rungs=[2, 6])
    assert store.trials(job.id) == before


@pytest.mark.parametrize("what", ["params", "seed", "rungs", "fewer", "more", "stage"])
def test_another_round_needs_a_new_job(store: Store, what: str) -> None:
    job = running_job(store)
    trials, rungs, stage = new_trials(range(3)), [2, 6], 0
    match what:
        case "params":
            trials[1] = NewTrial(number=1, params={"lr": 0.5}, seed=1)
        case "seed":
            trials[1] = replace(trials[1], seed=9)
        case "rungs":
            rungs = [2, 7]
        case "fewer":
            trials.pop()
        case "more":
            trials = new_trials(range(4))
        case "stage":
            stage = 1
    with pytest.raises(ConflictError, match=r"comes out the same.*another version.*--new"):
        store.record_round(job.id, stage=stage, round_number=0, trials=trials, rungs=rungs)
    assert len(store.trials(job.id)) == 3


def test_the_error_names_the_trials_that_differ(store: Store) -> None:
    job = running_job(store)
    trials = new_trials(range(3))
    trials[1] = replace(trials[1], seed=9)
    with pytest.raises(ConflictError, match=r"trials that differ: 1\)"):
        store.record_round(job.id, stage=0, round_number=0, trials=trials, rungs=[2, 6])


def test_a_trial_number_stands_once_in_its_job(store: Store) -> None:
    job = running_job(store)
    with pytest.raises(ConflictError, match=r"taken before: \[2\]"):
        store.record_round(job.id, stage=0, round_number=1, trials=new_trials([2, 3]), rungs=[2])
    with pytest.raises(ConflictError, match=r"stands once"):
        store.record_round(job.id, stage=0, round_number=1, trials=new_trials([4, 4]), rungs=[2])
    assert len(store.rounds(job.id)) == 1


def test_a_round_needs_a_stage_of_the_plan(store: Store) -> None:
    job = queued_job(store)
    record_plan(store, job.id)
    with pytest.raises(NotFoundError, match=r"has no stage 5"):
        store.record_round(job.id, stage=5, round_number=0, trials=new_trials([0]), rungs=[2])


def test_a_leg_is_answered_from_its_record(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    failed = MemberResult(number=2, state="failed", message="CUDA out of memory", train_s=0.25)
    result = a_result(leg, failed, attempt=2)
    assert store.leg_result(job.id, leg.key, "f") is None
    store.record_leg(job.id, leg, result, "f")
    answered = store.leg_result(job.id, leg.key, "f")
    assert answered == replace(result, members=tuple(replace(m, checkpoint=None) for m in result.members))


def test_a_leg_answers_with_its_own_epochs_and_states(store: Store) -> None:
    job = running_job(store)
    first, second = a_leg([0, 1, 2]), a_leg([0, 1], start=2, end=6)
    for leg in (first, second):
        store.record_leg(job.id, leg, a_result(leg), "f")
    store.stop_trials(job.id, [0])
    answered = store.leg_result(job.id, first.key, "f")
    assert answered is not None
    assert [[m.epoch for m in member.measurements] for member in answered.members] == [[1, 2]] * 3
    assert {member.state for member in answered.members} == {"running"}


def test_a_leg_moves_its_trials(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    diverged = replace(a_member(1, end=1), state="diverged", message="the loss is not finite")
    store.record_leg(job.id, leg, a_result(leg, diverged), "f")
    going_on = a_leg([0, 2], start=2, end=6)
    store.record_leg(job.id, going_on, a_result(going_on, a_member(2, start=2, end=5, state="completed")), "f")
    trials = store.trials(job.id)
    assert [(t.state, t.epochs, t.num_legs) for t in trials] == [
        (TrialState.RUNNING, 6, 2),
        (TrialState.DIVERGED, 1, 1),
        (TrialState.COMPLETED, 5, 2),
    ]
    assert [(t.best_epoch, t.best_value) for t in trials] == [
        (4, accuracy(0, 4)),
        (1, accuracy(1, 1)),
        (4, accuracy(2, 4)),
    ]
    assert [t.ended_at is None for t in trials] == [True, False, False]
    assert trials[1].message == "the loss is not finite"


@pytest.mark.parametrize(("mode", "best_epoch"), [("max", 2), ("min", 1)])
def test_the_best_epoch_follows_the_mode_and_ties_go_to_the_earlier(
    store: Store, mode: str, best_epoch: int
) -> None:
    job = queued_job(store)
    store.start_job(job.id)
    record_plan(store, job.id, mode=mode, metric="loss")
    store.record_round(job.id, stage=0, round_number=0, trials=new_trials([0]), rungs=[5])
    leg = a_leg([0], end=5)
    values = [0.5, 0.7, None, 0.7, 0.5]
    measured = tuple(Measurement(epoch=e + 1, metrics={"loss": v}) for e, v in enumerate(values))
    store.record_leg(
        job.id, leg, a_result(leg, MemberResult(number=0, state="running", measurements=measured)), "f"
    )
    assert store.trial(job.id, 0).best_epoch == best_epoch


def test_measurements_have_a_moment_each(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0], end=4)
    record = store.record_leg(job.id, leg, a_result(leg), "f")
    measured = store.measurements(job.id, 0)
    assert [m.epoch for m in measured] == [1, 2, 3, 4]
    assert measured[1].metrics == {"val_accuracy": accuracy(0, 2), "train_loss": 0.5}
    assert measured[-1].measured_at == record.recorded_at
    assert record.recorded_at - measured[0].measured_at == timedelta(seconds=1.5)
    assert [m.epoch for m in store.measurements(job.id, 0, after=2)] == [3, 4]
    with pytest.raises(NotFoundError, match=r"has no trial 8"):
        store.measurements(job.id, 8)


def test_legs_are_listed_as_they_were_recorded(store: Store) -> None:
    job = running_job(store)
    for leg in (a_leg([1], key="z"), a_leg([0], key="a")):
        store.record_leg(job.id, leg, a_result(leg, attempt=3), "f")
    legs = store.legs(job.id)
    assert [(leg.key, leg.trials, leg.attempt, leg.slot) for leg in legs] == [("z", (1,), 3, 1), ("a", (0,), 3, 1)]


def test_the_same_leg_again_changes_nothing_whoever_trained_it(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    first = store.record_leg(job.id, leg, a_result(leg), "f")
    elsewhere = replace(a_result(leg, attempt=2), slot=7, wall_s=9.0, device="cuda")
    assert store.record_leg(job.id, leg, elsewhere, "f") == first
    assert [trial.num_legs for trial in store.trials(job.id)] == [1, 1, 1]


def test_another_result_of_the_same_leg_is_refused(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    other = a_result(leg, replace(a_member(1), measurements=a_member(0).measurements))
    with pytest.raises(ConflictError, match=r"a leg has one result, got another one for leg r0000"):
        store.record_leg(job.id, leg, other, "f")


def test_a_leg_with_other_inputs_needs_a_new_job(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    with pytest.raises(ConflictError, match=r"the same inputs.*another version.*--new"):
        store.leg_result(job.id, leg.key, "g")
    with pytest.raises(ConflictError, match=r"the same inputs"):
        store.record_leg(job.id, leg, a_result(leg), "g")


def test_a_leg_that_cannot_be_recorded_leaves_no_trace(store: Store) -> None:
    """Trial 2 was stopped; trials 0 and 1 of the same leg could move, and must not."""
    job = running_job(store)
    first = a_leg([0, 1, 2])
    store.record_leg(job.id, first, a_result(first), "f")
    store.stop_trials(job.id, [2])
    before = store.trials(job.id)
    second = a_leg([0, 1, 2], start=2, end=6)
    with pytest.raises(ConflictError, match=r"a leg starts where its trials stand.*stopped at epoch 2"):
        store.record_leg(job.id, second, a_result(second), "f")
    assert store.trials(job.id) == before
    assert store.leg_result(job.id, second.key, "f") is None
    assert len(store.measurements(job.id, 0)) == 2


def test_a_leg_starts_where_its_trials_stand(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0], start=2, end=6)
    with pytest.raises(ConflictError, match=r"from epoch 2 for trial 0 .*which is pending at epoch 0"):
        store.record_leg(job.id, leg, a_result(leg), "f")


def test_legs_are_recorded_for_a_running_job_only(store: Store) -> None:
    job = running_job(store)
    store.pause_job(job.id)
    leg = a_leg([0])
    with pytest.raises(ConflictError, match=r"which is paused: run the job again"):
        store.record_leg(job.id, leg, a_result(leg), "f")


def test_a_result_answers_its_leg(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1])
    members = tuple(reversed(a_result(leg).members))
    with pytest.raises(ConflictError, match=r"member by member, got .* \[1, 0\] for .* \[0, 1\]"):
        store.record_leg(job.id, leg, LegResult(key=leg.key, members=members), "f")


@pytest.mark.parametrize("epochs", [[2], [1, 3], [1, 2, 3], [1, 1], [1]])
def test_measurements_follow_each_other_to_the_end_of_the_leg(store: Store, epochs: list[int]) -> None:
    job = running_job(store)
    leg = a_leg([0])
    measured = tuple(Measurement(epoch=e, metrics={"val_accuracy": 0.5}) for e in epochs)
    member = MemberResult(number=0, state="running", measurements=measured)
    with pytest.raises(ConflictError, match=r"measurements follow each other from the leg's start"):
        store.record_leg(job.id, leg, a_result(leg, member), "f")


def test_stopping_again_changes_nothing(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1, 2])
    store.record_leg(job.id, leg, a_result(leg), "f")
    store.stop_trials(job.id, [1])
    stopped = store.trials(job.id)
    store.stop_trials(job.id, [1])
    assert store.trials(job.id) == stopped
    assert stopped[1].state == TrialState.STOPPED


def test_only_running_trials_are_stopped_and_all_or_none(store: Store) -> None:
    job = running_job(store)
    leg = a_leg([0, 1])
    store.record_leg(job.id, leg, a_result(leg), "f")
    with pytest.raises(ConflictError, match=r"got trial 2 .* which is pending"):
        store.stop_trials(job.id, [0, 2])
    with pytest.raises(NotFoundError, match=r"has no trial 12"):
        store.stop_trials(job.id, [0, 12])
    assert store.trial(job.id, 0).state == TrialState.RUNNING
