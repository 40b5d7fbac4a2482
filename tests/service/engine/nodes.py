"""A cluster of several nodes in a process of its own: legs outlive the node that trains them.

python nodes.py FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import legs
import ray
from ray.cluster_utils import Cluster as Nodes

from service.engine.ray_tune import RayTuneEngine

TIMEOUT_S = 120.0


def main(folder: Path) -> None:
    begun = folder / "begun"
    begun.mkdir()
    # This process is at home on a node without cores, as a job worker is.
    head = {"num_cpus": 0, "_system_config": {"health_check_period_ms": 500}}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    first = nodes.add_node(num_cpus=2)
    for _ in range(3):
        nodes.add_node(num_cpus=0)  # more places where the desk would be lost with a node
    engine = RayTuneEngine(
        legs.act, num_slots=2, cpu=1, gpu=0, name="nodes", storage=folder / "storage", address=nodes.address
    )
    with engine:
        engine.brief(legs.CONTEXT)
        list(engine.run([legs.make_leg(f"before-{number}", "walk") for number in range(4)]))
        answers = [f"desk on the driver's node: {ray.get(engine._desk.__ray_call__.remote(_node)) == _node()}"]
        two = [legs.make_leg(f"leg-{number}", "gather", folder=str(begun), expected=3) for number in range(2)]
        results = engine.run(two)
        _wait(lambda: len(list(begun.iterdir())) == 2, "both legs must begin")
        nodes.remove_node(first, allow_graceful=False)
        _wait(lambda: sum(node["Alive"] for node in ray.nodes()) == 4, "the loss must be noticed")
        nodes.add_node(num_cpus=2)
        (begun / "go").touch()
        for result in sorted(results, key=lambda result: result.key):
            states = " ".join(member.state for member in result.members)
            answers.append(f"{result.key} attempt {result.attempt} {states}")
    (folder / "answers").write_text("\n".join(answers))  # Ray has words of its own for standard output


def _node(_: object = None) -> str:
    return str(ray.get_runtime_context().get_node_id())


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
