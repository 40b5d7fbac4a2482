"""What the engine itself costs: legs that sleep instead of training, on 1, 2, 4 and 8 slots.

Sleeping takes no core, so a machine of two cores can show eight slots. The legs are handed in at once, as those of
a rung are; their lengths are drawn by a fixed seed. Efficiency is the ideal time, that of all legs over the number
of slots, over the time that it took: what is missing is the way of a leg to a slot and of its result back, and the
end, when there are fewer legs than slots. The slots' start is left out: they have all served a leg before.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.legs import Leg, LegResult, Member, MemberResult

SLOTS = (1, 2, 4, 8)
SHORTEST_S, LONGEST_S = 0.1, 0.3
START_S = 120.0  # within which every slot must have served a leg


def sleep_leg(context: Any, leg: Leg) -> LegResult:
    """Take as long as the leg says; what the slots call."""
    for member in leg.members:
        time.sleep(member.params["sleep_s"])
    return LegResult(
        key=leg.key, members=tuple(MemberResult(number=m.number, state="completed") for m in leg.members)
    )


def make_legs(durations: Sequence[float], *, name: str = "sleep") -> list[Leg]:
    """Write a leg for each duration."""
    return [
        Leg(
            key=f"{name}-{number:05d}",
            members=(Member(number=number, params={"sleep_s": duration}, seed=0),),
            start_epoch=0,
            end_epoch=1,
        )
        for number, duration in enumerate(durations)
    ]


def draw_durations(num_legs: int) -> list[float]:
    """Draw the legs' lengths, the same ones each time."""
    generator = random.Random(0)
    return [generator.uniform(SHORTEST_S, LONGEST_S) for _ in range(num_legs)]


def efficiency(durations: Sequence[float], *, num_slots: int, wall_s: float) -> float:
    """Give the ideal time over the time that it took."""
    return sum(durations) / num_slots / wall_s


def measure(num_slots: int, durations: Sequence[float], *, cluster: Any, storage: Path) -> float:
    """Run the legs on so many slots and give the time that it took.

    Raises:
        RuntimeError: Not every slot has started in time.
    """
    from service.engine.ray_tune import RayTuneEngine

    with RayTuneEngine(
        f"{__name__}:{sleep_leg.__name__}",
        num_slots=num_slots,
        cpu=1,
        gpu=0,
        name=f"scaling-{num_slots}",
        storage=storage,
        cluster=cluster,
    ) as engine:
        engine.brief(None)
        _wait_for_slots(engine, num_slots)
        began = time.perf_counter()
        num_done = sum(1 for _ in engine.run(make_legs(durations)))
        wall_s = time.perf_counter() - began
    assert num_done == len(durations)
    return wall_s


def _wait_for_slots(engine: Any, num_slots: int) -> None:
    deadline, seen, turn = time.monotonic() + START_S, set[int](), 0
    while len(seen) < num_slots:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{num_slots} slots must start within {START_S:.0f} s, got {len(seen)}")
        turn += 1
        seen |= {result.slot for result in engine.run(make_legs([SHORTEST_S] * num_slots, name=f"start-{turn}"))}


def scaling(*, num_legs: int) -> dict[str, Any]:
    """Measure each number of slots, one after the other on one local Ray."""
    from service.engine.cluster import Cluster

    durations = draw_durations(num_legs)
    found: dict[str, Any] = {"scaling": {}, "figures": {}}
    with tempfile.TemporaryDirectory(prefix="scaling-") as storage, Cluster(num_cpus=max(SLOTS)) as cluster:
        cluster.wait()
        for num_slots in SLOTS:
            wall_s = measure(num_slots, durations, cluster=cluster, storage=Path(storage))
            found["scaling"][str(num_slots)] = efficiency(durations, num_slots=num_slots, wall_s=wall_s)
            found["figures"][str(num_slots)] = {"wall_s": wall_s, "ideal_s": sum(durations) / num_slots}
    return found
