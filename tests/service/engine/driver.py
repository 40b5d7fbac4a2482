"""A driver in a process of its own: runs legs on Ray and ends in the way that its arguments say.

python driver.py finish|forget|stay|NAME-OF-AN-ADDRESS FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import legs

from service.engine.fork_server import ForkServer
from service.engine.ray_tune import RayTuneEngine


def main(ending: str, folder: Path) -> None:
    is_local = ":" not in ending
    server = ForkServer("service.legs", log=folder / "slots.log") if is_local else None
    engine = RayTuneEngine(
        legs.act,
        num_slots=1,
        cpu=1,
        gpu=0,
        name="driver",
        storage=folder / "storage",
        address=None if is_local else ending,
        fork_server=server,
    )
    short = legs.make_leg("short", "walk")
    engine.brief(legs.CONTEXT)
    if ending == "forget":
        list(engine.run([short]))
        return
    with engine:
        list(engine.run([short]))
        if ending == "stay":
            list(engine.run([legs.make_leg("long", "linger", folder=str(folder))]))
    if server is not None:
        server.close()
    (folder / "closed").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
