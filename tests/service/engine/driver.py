"""A driver in a process of its own: starts Ray, stays in a leg, and ends in the way that its arguments say."""

from __future__ import annotations

import sys
from pathlib import Path

import legs

from service.engine.ray_tune import RayTuneEngine


def main(ending: str, folder: Path) -> None:
    engine = RayTuneEngine(
        legs.CONTEXT, legs.act, num_slots=2, cpu=1, gpu=0, name="driver", storage=folder / "storage"
    )
    started = folder / "started"
    started.mkdir()
    long = legs.make_leg("long", "linger", folder=str(started))
    short = legs.make_leg("short", "walk")
    if ending == "forget":
        list(engine.run([short]))
        (started / "short").touch()
        return
    with engine:
        for _ in engine.run([short] if ending == "finish" else [short, long]):
            if ending == "raise":
                raise KeyError("of the caller")
    (folder / "closed").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
