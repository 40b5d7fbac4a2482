"""Every promise of `service.engine.base.Engine`, for every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import legs
import pytest
from legs import CONTEXT, make_leg

from service.engine.base import Engine
from service.legs import Leg, LegResult


def walks(count: int) -> list[Leg]:
    return [make_leg(f"walk-{i:02d}", "walk", first=2 * i) for i in range(count)]


def pure(results: Sequence[LegResult]) -> dict[str, LegResult]:
    """Results by key, without what tells who ran them and when."""
    return {result.key: replace(result, slot=0, attempt=1, wall_s=0.0) for result in results}


def test_every_leg_is_answered_exactly_once(engine: Engine) -> None:
    wanted = walks(20)
    results = list(engine.run(wanted))
    assert sorted(result.key for result in results) == [leg.key for leg in wanted]


def test_a_result_has_one_entry_for_each_member_in_the_legs_order(engine: Engine) -> None:
    leg = make_leg("cohort", "walk", first=5, size=4)
    (result,) = engine.run([replace(leg, members=leg.members[::-1])])
    assert [member.number for member in result.members] == [8, 7, 6, 5]


def test_a_result_follows_from_context_and_leg(engine: Engine, answer: Callable[[Leg], LegResult]) -> None:
    wanted = walks(8)
    assert pure(list(engine.run(wanted))) == {leg.key: answer(leg) for leg in wanted}


def test_the_order_of_the_legs_changes_no_result(engine: Engine) -> None:
    wanted = walks(8)
    assert pure(list(engine.run(wanted))) == pure(list(engine.run(wanted[::-1])))


def test_a_trial_in_two_legs_ends_where_it_ends_in_one(engine: Engine) -> None:
    whole = make_leg("whole", "walk", size=1)
    (expected,) = engine.run([whole])
    (half,) = engine.run([replace(whole, key="half", end_epoch=2)])
    member = replace(whole.members[0], checkpoint=half.members[0].checkpoint)
    (rest,) = engine.run([replace(whole, key="rest", members=(member,), start_epoch=2)])
    assert rest.members[0].checkpoint == expected.members[0].checkpoint
    measured = half.members[0].measurements + rest.members[0].measurements
    assert measured == expected.members[0].measurements


def test_a_big_checkpoint_arrives_and_comes_back_unchanged(acting: Engine) -> None:
    checkpoint = bytes(range(256)) * (legs.BIG // 256)
    leg = make_leg("big", "digest", size=2)
    leg = replace(leg, members=tuple(replace(member, checkpoint=checkpoint) for member in leg.members))
    (result,) = acting.run([leg])
    assert pure([result]) == {"big": legs.digest(CONTEXT, leg)}


def test_independent_legs_run_at_the_same_time_as_far_as_there_are_slots(acting: Engine, tmp_path: Path) -> None:
    expected = acting.num_slots
    together = [
        make_leg(f"gather-{i}", "gather", folder=str(tmp_path), expected=expected) for i in range(expected)
    ]
    slots = [result.slot for result in acting.run(together)]
    assert sorted(slots) == list(range(expected))


def test_legs_that_are_added_are_answered_in_the_same_run(engine: Engine) -> None:
    legs = walks(9)
    results = engine.run(legs[:3])
    answered = [next(results)]
    engine.add(legs[3:5])
    answered.append(next(results))
    engine.add(legs[5:])
    answered += results
    assert sorted(result.key for result in answered) == [leg.key for leg in legs]


def test_an_added_leg_does_not_wait_for_those_before_it(acting: Engine, tmp_path: Path) -> None:
    expected = acting.num_slots
    first, *others = [
        make_leg(f"gather-{i}", "gather", folder=str(tmp_path), expected=expected) for i in range(expected)
    ]
    results = acting.run([first])
    acting.add(others)
    assert sorted(result.slot for result in results) == list(range(expected))


def test_legs_are_added_to_a_run_that_is_under_way_and_have_keys_of_their_own(engine: Engine) -> None:
    results = engine.run(walks(3))
    next(results)
    with pytest.raises(ValueError, match="different keys, got"):
        engine.add([make_leg("twice", "walk"), make_leg("twice", "walk")])
    assert len(list(results)) == 2
    with pytest.raises(RuntimeError, match="there is none: call run"):
        engine.add(walks(1))


def test_a_result_says_its_attempt_and_how_long_it_took(engine: Engine) -> None:
    (result,) = engine.run(walks(1))
    assert result.attempt == 1
    assert result.wall_s > 0


def test_no_legs_give_no_results(engine: Engine) -> None:
    assert list(engine.run([])) == []


def test_an_exception_of_the_leg_function_is_raised_from_run(acting: Engine) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)raised in leg bad.*ZeroDivisionError.*on purpose in bad"):
        list(acting.run([make_leg("bad", "stumble")]))
    assert len(list(acting.run(walks(4)))) == 4


def test_a_leg_function_that_answers_for_another_leg_is_found_out(acting: Engine) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)asked for \('odd', \[0, 1\]\), got \('another leg', \[\]\)"):
        list(acting.run([make_leg("odd", "confuse")]))


def test_two_legs_with_one_key_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"different keys, got \['walk-00'\] more than once"):
        engine.run(walks(1) * 2)


def test_a_run_can_be_abandoned_and_the_next_one_gets_its_own_results_only(engine: Engine) -> None:
    abandoned = engine.run(walks(20))
    next(abandoned)
    del abandoned
    other = [make_leg(f"other-{i}", "walk") for i in range(6)]
    assert sorted(result.key for result in engine.run(other)) == [leg.key for leg in other]


def test_the_same_keys_can_run_again_after_an_abandoned_run(engine: Engine) -> None:
    abandoned = engine.run(walks(20))
    next(abandoned)
    assert sorted(result.key for result in engine.run(walks(20))) == [leg.key for leg in walks(20)]


def test_an_engine_can_be_closed_twice_and_runs_nothing_after(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    assert len(list(engine.run(walks(3)))) == 3
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="a closed engine runs nothing: make a new one"):
        engine.run(walks(1))


def test_leaving_the_context_manager_after_an_exception_closes_the_engine(
    make_engine: Callable[[], Engine],
) -> None:
    with pytest.raises(KeyError), make_engine() as engine:  # noqa: PT012 - the block is what is tested
        next(engine.run(walks(5)))
        raise KeyError("of the caller")
    with pytest.raises(RuntimeError, match="a closed engine runs nothing"):
        engine.run(walks(1))
