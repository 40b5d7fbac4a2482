"""The comparison of stacks: what is computed from runs, how a stack is run, and what its slots' legs take."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from benchmarks import orchestration
from benchmarks.figures import Figures, last_json_line
from benchmarks.own_job import OwnFigures, make_spec, num_candidates
from benchmarks.peak_memory import PeakMemory, peak_gib
from benchmarks.scaling import draw_durations, efficiency, make_legs, sleep_leg
from service.documents import parse_spec
from service.engine.local import LocalEngine


def theirs(wall_s: float) -> Figures:
    return Figures(wall_s=wall_s, trials=20, epochs=100, best=0.9)


def ours(wall_s: float, *, training: float) -> OwnFigures:
    return OwnFigures(
        wall_s=wall_s,
        trials=20,
        epochs=100,
        best=0.9,
        not_training_share=1 - training,
        wall_clock={"training": training, "start": 1 - training},
        driver_peak_gib=0.5,
    )


def test_a_ratio_is_theirs_over_ours_of_medians() -> None:
    found = orchestration.compare(
        {
            "plain": [theirs(100), theirs(120), theirs(900)],
            "tuneladder": [ours(10, training=0.4), ours(12, training=0.7), ours(8, training=0.6)],
        }
    )
    assert found["seconds_per_trial_epoch"] == {"plain": 1.2, "tuneladder": 0.1}
    assert found["ratio"] == {"plain": pytest.approx(12.0)}
    assert found["not_training_share"] == pytest.approx(0.4)
    assert found["wall_clock"] == pytest.approx({"training": 0.6, "start": 0.4})
    assert found["figures"]["tuneladder"][0]["driver_peak_gib"] == 0.5
    json.dumps(found)


def test_stacks_alone_have_rates_and_no_ratio() -> None:
    found = orchestration.compare({"plain": [theirs(100)]})
    assert found["ratio"] == {}
    assert "not_training_share" not in found


def test_parts_are_printed_the_largest_first() -> None:
    assert orchestration.where_text({"asking": 0.05, "training": 0.75}) == "training 75.0%, asking 5.0%"


@pytest.mark.parametrize(("trials", "candidates"), [(1, 10), (20, 10), (80, 10), (200, 25), (1000, 32)])
def test_rounds_grow_with_the_number_of_trials(trials: int, candidates: int) -> None:
    assert num_candidates(trials) == candidates


@pytest.mark.parametrize("strategy", ["ladder", "joint"])
@pytest.mark.parametrize("trials", [4, 20, 200, 1000])
def test_any_number_of_trials_is_a_valid_spec(trials: int, strategy: str) -> None:
    body = make_spec(trials=trials, max_epochs=10, strategy=strategy)
    assert parse_spec(body).search.strategy == strategy


def test_a_stack_ends_with_json_and_is_watched_while_it_runs() -> None:
    holds = "held = b'x' * 256 * 2**20"  # in a child, which is not counted
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}], check=True)"
    program += "; import json; print('a word'); print(json.dumps({'a': 1}))"
    memory: list[PeakMemory] = []

    def watch(pid: int) -> PeakMemory:
        memory.append(PeakMemory(pid))
        return memory[0]

    assert last_json_line([sys.executable, "-c", program], watch=watch) == {"a": 1}
    assert 0.0 < memory[0].gib < 0.25


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "", "print('no JSON')", "print([1])"])
def test_a_stack_that_does_not_end_with_json_is_an_error(program: str) -> None:
    with pytest.raises(RuntimeError, match="JSON"):
        last_json_line([sys.executable, "-c", program])


def test_a_peak_is_read_as_linux_writes_it() -> None:
    assert peak_gib("Name:\tpython\nVmPeak:\t 9999999 kB\nVmHWM:\t 1572864 kB\nVmRSS:\t 4 kB\n") == 1.5
    assert peak_gib("Name:\tpython\nState:\tZ (zombie)\n") == 0.0


def test_an_own_process_has_a_peak() -> None:
    with PeakMemory(os.getpid()) as memory:
        pass
    assert memory.gib > 0.01


def test_a_sleeping_leg_takes_its_time_and_answers_for_its_members() -> None:
    began = time.perf_counter()
    with LocalEngine(None, sleep_leg) as engine:
        results = list(engine.run(make_legs([0.02, 0.03])))
    assert [result.members[0].state for result in results] == ["completed", "completed"]
    assert results[1].wall_s >= 0.03
    assert time.perf_counter() - began >= 0.05


def test_legs_are_drawn_the_same_each_time_within_their_bounds() -> None:
    durations = draw_durations(300)
    assert durations == draw_durations(300)
    assert 0.1 <= min(durations) <= max(durations) <= 0.3


def test_efficiency_is_ideal_over_real_time() -> None:
    assert efficiency([1.0, 2.0, 3.0], num_slots=2, wall_s=4.0) == pytest.approx(0.75)


@pytest.mark.parametrize("option", ["--trials", "--job", "--plain-trials", "--legs"])
def test_sizes_below_one_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        orchestration.main([option, "0"])
    assert f"{option} is at least 1, got 0" in capsys.readouterr().err


def test_an_unknown_stack_is_refused() -> None:
    with pytest.raises(SystemExit, match="--only names stacks out of plain, reuse, tuneladder, got fast"):
        orchestration.main(["--only", "fast"])
