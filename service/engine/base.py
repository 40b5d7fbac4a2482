"""Legs, their results, and what an engine promises.

A leg is the only unit of work that travels: a cohort of trials, a start epoch with their checkpoints, an
end epoch. Its result is a pure function of the job's context and the leg, never of the slot that ran it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

MemberState = Literal["running", "completed", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One trial of a cohort, as a leg carries it."""

    number: int  # of the trial in its job
    params: Mapping[str, Any]  # JSON primitives: the stage's candidates over the incumbent
    seed: int  # of the trial; everything random in it follows from this and the epoch
    checkpoint: bytes | None = None  # state at the start epoch; None at epoch 0


@dataclass(frozen=True, kw_only=True)
class Leg:
    """The training of a cohort from one rung to the next: epochs start_epoch < e <= end_epoch."""

    key: str  # unique in the job and the same in every run of it, such as "r0003-e0006-c00"
    members: tuple[Member, ...]
    start_epoch: int
    end_epoch: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Every metric's value after one epoch. A value that is not finite is None."""

    epoch: int  # counts from 1
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """What a leg made of one member.

    States: running (reached end_epoch, may go on), completed (stopped by patience, or at the last epoch),
    diverged (a loss was not finite), failed (raised; `message` says what).
    """

    number: int
    state: MemberState
    measurements: tuple[Measurement, ...] = ()
    checkpoint: bytes | None = None  # after the last measured epoch, best epoch's weights included
    message: str | None = None
    train_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LegResult:
    """The result of one leg: one `MemberResult` for each member, in the leg's order."""

    key: str
    members: tuple[MemberResult, ...]
    slot: int = 0
    attempt: int = 1  # the n-th execution of this leg
    wall_s: float = 0.0
    device: str = "cpu"


LegFunction = Callable[[Any, Leg], LegResult]  # (context, leg): the pure function that engines call


class Engine(ABC):
    """Runs legs. One contract suite holds for every implementation.

    An engine is made for one job: `context` is whatever the leg function needs beside the leg (data, fixed
    settings) and reaches each worker once. Engines are context managers; leaving one ends everything it
    started, also after an exception or Ctrl-C.

    Promises:
        - `run` yields exactly one result for each leg, in any order; legs that are independent run at the
          same time, as far as there are slots.
        - Results depend on context and leg alone.
        - A leg whose worker is lost is run again, up to `max_attempts` times; after that its members are
          `failed` with a message that says so, and the engine goes on.
        - An exception of the leg function itself is a bug, not a trial's failure: it is raised from `run`.
        - Abandoning the iterator of `run` is allowed: what is under way is dropped.
    """

    num_slots: int

    @abstractmethod
    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        """Run the legs and yield their results as they come."""

    @abstractmethod
    def close(self) -> None:
        """End everything that the engine started. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
