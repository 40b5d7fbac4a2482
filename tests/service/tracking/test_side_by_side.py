"""Calls side by side: each once, none after the end, and one of them raising stops no other."""

from __future__ import annotations

import threading

import pytest

from service.tracking.side_by_side import side_by_side


def half(number: int) -> float:
    if number == 3:
        raise ValueError("not this one")
    return number / 2


@pytest.mark.parametrize("num_threads", [1, 4, 50])
def test_every_item_has_its_outcome(num_threads: int) -> None:
    outcomes = dict(side_by_side(half, range(20), num_threads=num_threads))
    assert isinstance(outcomes.pop(3), ValueError)
    assert outcomes == {number: number / 2 for number in range(20) if number != 3}


def test_no_items_give_no_outcomes() -> None:
    assert list(side_by_side(half, [], num_threads=4)) == []


def test_calls_are_under_way_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=30)
    outcomes = side_by_side(lambda number: together.wait(), range(4), num_threads=4)
    assert sorted(str(outcome) for _, outcome in outcomes) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_whoever_leaves_begins_no_other_call_and_waits_for_those_under_way(num_threads: int) -> None:
    begun: list[int] = []
    ended: list[int] = []
    goes_on = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        assert number == 0 or goes_on.wait(timeout=30)
        ended.append(number)

    outcomes = side_by_side(work, range(100_000), num_threads=num_threads)
    next(outcomes)
    leaving = threading.Thread(target=outcomes.close)
    leaving.start()
    goes_on.set()
    leaving.join()
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 100_000


@pytest.mark.parametrize("num_threads", [1, 2])
def test_once_it_is_told_to_stop_no_other_call_begins(num_threads: int) -> None:
    stop = threading.Event()

    def work(number: int) -> int:
        stop.set()
        return number

    outcomes = list(side_by_side(work, range(10), num_threads=num_threads, should_stop=stop.is_set))
    assert 1 <= len(outcomes) <= num_threads
