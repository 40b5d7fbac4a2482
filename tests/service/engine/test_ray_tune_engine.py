"""What `RayTuneEngine` promises beyond the contract: lost workers, GPUs, placement, one context per slot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import legs
import psutil
import pytest
from legs import make_leg

from service.engine.cluster import Cluster, Seat, count_seats
from service.engine.fork_server import ForkServer
from service.engine.ray_tune import RayTuneEngine
from service.errors import InvalidSpecError
from service.legs import Leg, LegResult

Make = Callable[..., RayTuneEngine]


@pytest.fixture
def make(cluster: Cluster, tmp_path: Path) -> Iterator[Make]:
    """Make engines on the session's Ray: eight cores, four GPUs on paper."""
    made: list[RayTuneEngine | ForkServer] = []

    def make_engine(context: Any = legs.CONTEXT, *, forked: bool = False, **options: Any) -> RayTuneEngine:
        if forked:
            made.append(server := ForkServer("service.legs", log=tmp_path / "slots.log"))
            options["fork_server"] = server
        settings = {"num_slots": 2, "cpu": 1, "gpu": 0.0, "name": "job", "storage": tmp_path / "storage"}
        made.append(engine := RayTuneEngine(legs.act, cluster=cluster, **{**settings, **options}))
        engine.brief(context)
        return engine

    yield make_engine
    for one in reversed(made):
        one.close()


def folder(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir()
    return str(tmp_path / name)


def by_key(results: Iterator[LegResult]) -> dict[str, LegResult]:
    return {result.key: result for result in results}


def seen(result: LegResult) -> list[str]:
    """What `legs.gather` saw in its worker: visible devices, working folder, process id."""
    checkpoint = result.members[0].checkpoint
    assert checkpoint is not None
    return checkpoint.decode().split("|")


def is_slot(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("ray::ImplicitFunc")  # as Tune calls a function's actor
    except psutil.NoSuchProcess:
        return False


def gathering(tmp_path: Path, count: int, expected: int) -> list[Leg]:
    place = folder(tmp_path, f"gather-{count}")
    return [make_leg(f"gather-{i}", "gather", folder=place, expected=expected) for i in range(count)]


@pytest.mark.parametrize("forked", [False, True])
def test_a_leg_whose_worker_is_lost_is_run_again_and_its_attempt_counted(
    make: Make, tmp_path: Path, forked: bool
) -> None:
    engine = make(forked=forked)
    deadly = make_leg("deadly", "die", folder=folder(tmp_path, "deaths"), deaths=1)
    results = by_key(engine.run([deadly, make_leg("calm", "walk")]))
    assert results["deadly"].attempt == 2
    assert results["deadly"].members == legs.walk(legs.CONTEXT, deadly).members
    assert results["calm"].attempt == 1


def test_a_leg_that_ends_its_worker_every_time_fails_and_the_engine_goes_on(make: Make, tmp_path: Path) -> None:
    engine = make(max_attempts=2)
    deadly = make_leg("deadly", "die", size=3, folder=folder(tmp_path, "deaths"), deaths=99)
    results = by_key(engine.run([deadly, *(make_leg(f"calm-{i}", "walk") for i in range(5))]))
    assert len(results) == 6
    assert [member.state for member in results["deadly"].members] == ["failed"] * 3
    for member in results["deadly"].members:
        assert "the leg ended its worker process 2 times" in str(member.message)
        assert "after 2 executions a leg is given up" in str(member.message)
    assert len(os.listdir(tmp_path / "deaths")) == 2
    assert len(list(engine.run([make_leg("after", "walk")]))) == 1


def test_slots_that_never_reach_a_leg_end_the_run_with_the_reason(make: Make) -> None:
    engine = make(context=legs.DeadlyContext(), max_attempts=2)
    with pytest.raises(RuntimeError, match=r"(?s)every slot has ended and none could be started again.*died"):
        list(engine.run([make_leg("never", "walk")]))


def test_a_context_that_cannot_be_loaded_is_said_with_its_traceback(make: Make) -> None:
    engine = make(context=legs.BadContext())
    with pytest.raises(RuntimeError, match=r"(?s)could not load the leg function and its context.*not a number"):
        list(engine.run([make_leg("never", "walk")]))


def test_the_context_is_fetched_once_per_slot_and_not_once_per_leg(make: Make, tmp_path: Path) -> None:
    fetched = Path(folder(tmp_path, "fetched"))
    engine = make(context=legs.CountedContext(folder=str(fetched), **legs.CONTEXT))
    list(engine.run(gathering(tmp_path, 2, 2)))  # both slots are there
    assert len(list(engine.run([make_leg(f"walk-{i}", "walk") for i in range(30)]))) == 30
    processes = [name.partition("-")[0] for name in os.listdir(fetched)]
    assert len(processes) == len(set(processes)) == 2
    assert str(os.getpid()) not in processes


def test_slots_import_a_leg_function_that_is_given_by_its_path(cluster: Cluster, tmp_path: Path) -> None:
    settings = {"num_slots": 1, "cpu": 1, "gpu": 0.0, "name": "path", "storage": tmp_path, "cluster": cluster}
    with RayTuneEngine("legs:act", **settings) as engine:
        with pytest.raises(RuntimeError, match=r"legs need their context: call brief\(\) first"):
            engine.run([make_leg("early", "walk")])
        engine.brief(legs.CONTEXT)
        (result,) = engine.run([make_leg("walk", "walk")])
    assert result == replace(
        legs.act(legs.CONTEXT, make_leg("walk", "walk")), slot=0, attempt=1, wall_s=result.wall_s
    )


def test_an_engine_that_is_closed_before_it_is_briefed_leaves_no_slot(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait()
    engine = RayTuneEngine("legs:act", num_slots=1, cpu=1, gpu=0, name="never", storage=tmp_path, cluster=cluster)
    engine.close()
    slots = [child for child in psutil.Process().children(recursive=True) if is_slot(child)]
    assert psutil.wait_procs(slots, timeout=60)[1] == []


def test_arrays_of_the_context_are_shared_memory_in_the_slots(make: Make) -> None:
    (result,) = make().run([make_leg("look", "inspect", size=1)])
    assert result.members[0].measurements[0].metrics["owned"] == 0.0


def test_a_later_run_takes_over_and_the_earlier_one_says_so(make: Make) -> None:
    engine = make()
    earlier = engine.run([make_leg(f"a-{i}", "walk") for i in range(4)])
    assert len(list(engine.run([make_leg("b", "walk")]))) == 1
    with pytest.raises(RuntimeError, match="one run at a time: a later run has dropped this one"):
        next(earlier)


def test_closing_ends_slots_that_are_in_the_middle_of_a_leg(make: Make, tmp_path: Path) -> None:
    engine = make()
    place = folder(tmp_path, "linger")
    results = engine.run(
        [make_leg("long", "linger", folder=place), make_leg("look", "gather", folder=place, expected=2)]
    )
    looked = next(results)
    assert looked.key == "look"  # so the long leg has begun
    engine.close()
    with pytest.raises(RuntimeError, match="the engine was closed; legs still open: long"):
        next(results)
    slots = [child for child in psutil.Process().children(recursive=True) if is_slot(child)]
    assert psutil.wait_procs(slots, timeout=60)[1] == []


@pytest.mark.parametrize(
    ("gpu", "num_slots", "per_device"), [pytest.param(1.0, 4, 1, marks=pytest.mark.long), (0.5, 8, 2)]
)
def test_as_many_legs_run_at_once_as_gpus_allow_and_each_sees_its_own(
    make: Make, tmp_path: Path, gpu: float, num_slots: int, per_device: int
) -> None:
    engine = make(num_slots=num_slots, gpu=gpu)
    results = list(engine.run(gathering(tmp_path, num_slots, num_slots)))
    devices = sorted(seen(result)[0] for result in results)
    assert devices == sorted(str(device) for device in range(4) for _ in range(per_device))


def test_slots_without_room_wait_while_the_others_answer_every_leg(make: Make, tmp_path: Path) -> None:
    engine = make(num_slots=3, gpu=2.0)
    results = list(engine.run(gathering(tmp_path, 6, 2)))
    assert {seen(result)[0] for result in results} == {"0,1", "2,3"}
    assert len({result.slot for result in results}) == 2


def test_a_slot_without_a_gpu_sees_none_and_works_in_the_folder_of_the_driver(make: Make, tmp_path: Path) -> None:
    (result,) = make(num_slots=1).run(gathering(tmp_path, 1, 1))
    devices, working_folder, process = seen(result)
    assert devices == ""
    assert working_folder == os.getcwd()
    assert int(process) != os.getpid()


def test_a_slot_that_fits_on_no_node_is_refused_before_anything_starts(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match=r"asked for gpu=5, the largest node has 4 GPUs: lower") as gpu:
        make(gpu=5.0)
    assert gpu.value.field == "resources.gpu"
    with pytest.raises(InvalidSpecError, match=r"asked for cpu=9 with gpu=0, the largest node has 8 CPUs") as cpu:
        make(cpu=9)
    assert cpu.value.field == "resources.cpu"
    assert not (tmp_path / "storage").exists()


def test_seats_are_counted_by_what_runs_out_first(cluster: Cluster) -> None:
    cluster.wait()
    seats = [Seat(cpu=1, gpu=0), Seat(cpu=3, gpu=0), Seat(cpu=1, gpu=0.5), Seat(cpu=1, gpu=2), Seat(cpu=1, gpu=3)]
    assert [count_seats(seat) for seat in seats] == [8, 2, 8, 2, 1]
