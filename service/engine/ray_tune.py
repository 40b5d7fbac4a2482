"""Legs on a Ray cluster: a Tuner per job whose trials are slots.

Slots live as long as the engine. Each pulls legs from the desk, trains, hands the result back and reports to
Tune. Where slots are placed, which GPU they see and that they come back after a loss is Tune's and Ray's.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from service.engine.base import Engine, LegFunction
from service.engine.cluster import Cluster, Seat, check_seat, local_cpus
from service.engine.desk import Desk, Forks, Outcome, Parcel, Welcome
from service.engine.execution import unpack_result
from service.engine.fork_server import ForkServer
from service.engine.local import check_keys
from service.engine.trials import Ending, LossReporter, Silence, slot_trainable
from service.errors import EngineLostError
from service.legs import Leg, LegResult, MemberResult

BIG_LEG_BYTES = 2**20  # a bigger leg travels through the object store and not through the desk
MOST_FORKED_BYTES = 2**28  # a bigger context is not copied to the fork server: slots map it from the object store
CLOSE_PATIENCE_S = 30.0  # Tune ends its trials in about a second


class RayTuneEngine(Engine):
    """Runs legs on slots of a Ray cluster, local or distant.

    The slots start when the engine is made and import the leg function, while this process may still prepare the
    context: `brief` hands it over, once, before the first `run`. Neither waits for the last slot, and those that
    the cluster has no room for start when there is.

    Args:
        function: The leg function, whose module is importable on the workers; or its import path `module:name`,
            which nothing has to be imported for here.
        num_slots: Slots at most.
        cpu: Cores of a slot.
        gpu: GPUs of a slot; a fraction shares one.
        name: Of the job; names the Tune experiment.
        storage: Folder for Tune's own records.
        address: An existing cluster; None starts a local Ray unless this process is connected to one.
        max_attempts: Executions after which a leg that ends its worker is given up.
        num_gpus: GPUs that a local Ray offers; those that it finds by default.
        cluster: A connection that was opened before and stays open when the engine closes; with it,
            `address` and `num_gpus` are not used.
        fork_server: Has imported the leg function on the one machine of a local Ray; slots are forks of it then.

    Raises:
        InvalidSpecError: No node of the cluster has room for one slot; no slot has been started then.
        TuneladderError: Ray could not be reached or started.
    """

    def __init__(
        self,
        function: LegFunction | str,
        *,
        num_slots: int,
        cpu: int,
        gpu: float,
        name: str,
        storage: Path,
        address: str | None = None,
        max_attempts: int = 3,
        num_gpus: int | None = None,
        cluster: Cluster | None = None,
        fork_server: ForkServer | None = None,
    ) -> None:
        self.num_slots = num_slots
        self._max_attempts = max_attempts
        self._run_number = 0
        self._open_legs: dict[str, Leg] | None = None  # of the run under way
        self._closed = self._is_briefed = False
        self._own_cluster = None
        if cluster is None:
            cluster = Cluster(num_cpus=local_cpus(num_slots, cpu), num_gpus=num_gpus, address=address)
            self._own_cluster = cluster
        self._stopping = threading.Event()
        self._tuning = threading.Thread(target=self._tune, name=f"tune-{name}", daemon=True)
        self._fork_server = fork_server
        self._name, self._storage, self._seat = name, storage.resolve(), Seat(cpu=cpu, gpu=gpu)
        try:
            cluster.wait()
            check_seat(self._seat)
            self._function = function if isinstance(function, str) else _pickled(function)
            welcome = Welcome(
                import_path=tuple(sys.path), function=self._function, is_forked=fork_server is not None
            )
            self._desk: Any = ray.remote(Desk).options(**_here()).remote(welcome, num_slots, max_attempts)
        except BaseException:
            if self._own_cluster is not None:
                self._own_cluster.close()
            raise
        self._tuning.start()

    def brief(self, context: Any) -> None:
        """Give the context, the first argument of every call of the leg function.

        Each slot gets it once; arrays arrive in shared memory, read-only or copied when they are written to.

        Raises:
            EngineLostError: The cluster or the fork server is not there any more.
        """
        self._is_briefed = True
        with _cluster_is_there():
            ray.get(self._desk.brief.remote(self._forks_with(context) or (ray.put(context),)))

    def _forks_with(self, context: Any) -> Forks | None:
        """Hand the context to the fork server, if there is one and the context is small."""
        buffers: list[pickle.PickleBuffer] = []
        small: bytes = cloudpickle.dumps(context, protocol=5, buffer_callback=buffers.append)  # type: ignore[no-untyped-call]
        if self._fork_server is None or len(small) + sum(b.raw().nbytes for b in buffers) > MOST_FORKED_BYTES:
            return None
        try:
            self._fork_server.brief(self._function, _pickled(context))
        except EOFError as error:
            raise EngineLostError(f"the process that slots are forked from must stay: {error}") from error
        return Forks(self._fork_server.address)

    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        """Hand the legs to the desk and yield their results as they come.

        Raises:
            RuntimeError: The engine is closed or not briefed, the leg function raised (with its traceback), every
                slot is lost, or a later `run` has taken over.
            EngineLostError: The cluster is not there any more.
            ValueError: Two legs have the same key.
        """
        if self._closed:
            raise RuntimeError("a closed engine runs nothing: make a new one")
        if not self._is_briefed:
            raise RuntimeError("legs need their context: call brief() first")
        check_keys(legs)
        self._run_number += 1
        number = self._run_number
        with _cluster_is_there():
            ray.get(self._desk.submit.remote(number, [_pack(leg, number) for leg in legs]))
        self._open_legs = {leg.key: leg for leg in legs}
        return self._results(number, self._open_legs)

    def add(self, legs: Sequence[Leg]) -> None:
        """Hand further legs of the run under way to the desk.

        Raises:
            RuntimeError: No run is under way.
            EngineLostError: The cluster is not there any more.
            ValueError: A leg has the key of another one that is open.
        """
        if self._open_legs is None or self._closed:
            raise RuntimeError("legs are added to a run under way, there is none: call run()")
        check_keys([*self._open_legs.values(), *legs])
        number = self._run_number
        with _cluster_is_there():
            ray.get(self._desk.add.remote(number, [_pack(leg, number) for leg in legs]))
        self._open_legs |= {leg.key: leg for leg in legs}

    def _results(self, number: int, open_legs: dict[str, Leg]) -> Iterator[LegResult]:
        try:
            while open_legs:
                for outcome in self._collect(number):
                    if outcome.kind == "ended":
                        raise RuntimeError(f"{outcome.body}; legs still open: {', '.join(open_legs)}")
                    yield self._judge(outcome, open_legs.pop(outcome.key))
        finally:
            if number == self._run_number:
                self._open_legs = None
            if open_legs and not self._closed:
                self._desk.drop.remote(number)

    def _collect(self, number: int) -> list[Outcome]:
        if self._closed:
            return [Outcome("ended", body="the engine was closed")]
        with _cluster_is_there():
            # A future's result() wakes for Ctrl-C at once, ray.get() within a second.
            outcomes: list[Outcome] = self._desk.collect.remote(number).future().result()
        return outcomes

    def _judge(self, outcome: Outcome, leg: Leg) -> LegResult:
        if outcome.kind == "raised":
            raise RuntimeError(f"the leg function raised in leg {leg.key}:\n{outcome.body}")
        if outcome.kind == "result":
            return unpack_result(outcome.body)
        message = (
            f"the leg ended its worker process {outcome.attempt} times, and after {self._max_attempts} "
            "executions a leg is given up: look for memory (a smaller batch_size or width, a smaller "
            "resources.cohort_size) or for native code that crashes"
        )
        members = tuple(
            MemberResult(number=member.number, state="failed", message=message) for member in leg.members
        )
        return LegResult(key=leg.key, members=members, attempt=outcome.attempt)

    def close(self) -> None:
        """End the slots and the desk, and Ray if the engine started it."""
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        if ray.is_initialized():  # else the cluster was closed first, and everything ended with it
            with contextlib.suppress(ray.exceptions.RayError):
                for handle in ray.get(self._desk.end.remote("the engine was closed")):
                    ray.kill(pickle.loads(handle))
            self._tuning.join(CLOSE_PATIENCE_S)
            ray.kill(self._desk)
        if self._own_cluster is not None:
            self._own_cluster.close()

    def _tune(self) -> None:
        try:
            trainable = slot_trainable(self._desk, name=f"{self._name}-{uuid.uuid4().hex[:8]}")
            tuner = tune.Tuner(
                tune.with_resources(trainable, {"cpu": self._seat.cpu, "gpu": self._seat.gpu}),
                param_space={"slot": tune.grid_search(list(range(self.num_slots)))},
                run_config=tune.RunConfig(
                    name=self._name,
                    storage_path=str(self._storage),
                    failure_config=tune.FailureConfig(max_failures=-1),
                    stop=Ending(self._stopping),
                    callbacks=[LossReporter(self._desk), Silence()],
                    verbose=0,
                ),
            )
            errors = tuner.fit().errors
            reason = f"every slot has ended and none could be started again: {errors[0] if errors else '?'}"
        except Exception as error:
            reason = f"Ray Tune has ended: {error!r}"
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._desk.end.remote(reason))


def _here() -> dict[str, Any]:
    """Options of an actor that is lost with this process's node alone: any other node may come and go."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


@contextlib.contextmanager
def _cluster_is_there() -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        said = str(error).partition("\n")[0]
        raise EngineLostError(f"Ray must stay until the job ends, the engine's desk is lost: {said}") from error


def _pickled(something: Any) -> bytes:
    pickled: bytes = cloudpickle.dumps(something)  # type: ignore[no-untyped-call]
    return pickled


def _pack(leg: Leg, run: int) -> Parcel:
    size = sum(len(member.checkpoint or b"") for member in leg.members)
    body = (ray.put(leg),) if size > BIG_LEG_BYTES else pickle.dumps(leg, protocol=5)
    return Parcel(run, leg.key, body)
