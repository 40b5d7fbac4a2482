"""The desk: who holds which leg. A small actor between the driver and the slots.

Slots call `join` and `context` once and `exchange` after every leg; the driver calls `brief` once, then `submit`,
`add`, `collect` and `report_loss`.
Legs and results pass as pickled bytes, which the desk never opens; a big leg passes as a reference to Ray's
object store. All methods run on one event loop and change state between awaits only, so there are no locks.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What a slot needs before its first leg.

    It stands here, as the desk unpickles it too: this module imports nothing that takes time.
    """

    import_path: tuple[str, ...]  # the driver's sys.path: its modules can be imported there, if they are there
    function: bytes | str  # the leg function, pickled, or its import path: its module is imported in the slot
    is_forked: bool = False  # slots had better not import it before they know that no fork server has done so


@dataclass(frozen=True)
class Forks:
    """In the place of a context: the fork server that has it."""

    address: str


@dataclass(frozen=True)
class Parcel:
    """One leg on its way to a slot."""

    run: int  # number of the `submit` that it belongs to
    key: str
    body: Any  # the pickled leg, or a tuple with the reference to it


@dataclass(frozen=True)
class Assignment:
    """A leg as a slot gets it."""

    parcel: Parcel
    attempt: int


@dataclass(frozen=True)
class Outcome:
    """What became of a leg.

    Kinds:
        result: `body` is the pickled result.
        raised: `body` is the traceback of the leg function.
        lost: the leg ended its worker `attempt` times and is not handed out again.
        ended: no leg will have an outcome any more; `body` is the reason, `key` is empty.
    """

    kind: Literal["result", "raised", "lost", "ended"]
    key: str = ""
    body: Any = None
    attempt: int = 0


@dataclass
class _Run:
    """The legs of one `submit` that nobody holds, and what became of the others."""

    number: int = 0
    queue: deque[Parcel] = field(default_factory=deque)
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)


@dataclass
class _Seat:
    """What the desk knows of one slot."""

    life: int = 0  # workers that the slot has lost; a worker of an earlier life is not listened to
    losses_before_leg: int = 0  # workers in a row that ended before they asked for a leg
    handle: bytes | None = None  # the worker's actor, pickled
    held: Assignment | None = None
    waiting: bool = False  # for a leg; such a worker ends by itself when told so


class Desk:
    """Hands each leg of the present run to one slot at a time and collects what becomes of it.

    Args:
        welcome: What every slot gets when it joins.
        num_slots: Slots are numbered from 0.
        max_attempts: A leg that ended its worker so many times is not handed out again.
    """

    def __init__(self, welcome: Welcome, num_slots: int, max_attempts: int) -> None:
        self._welcome = welcome
        self._max_attempts = max_attempts
        self._seats = [_Seat() for _ in range(num_slots)]
        self._run = _Run()
        self._ended: str | None = None
        self._context: tuple[Any] | Forks | None = None
        self._changed = asyncio.Condition()

    async def join(self, slot: int, handle: bytes) -> tuple[int, Welcome]:
        """Introduce a slot's new worker; returns its life, to be named in `exchange`, and the welcome."""
        self._seats[slot].handle = handle
        return self._seats[slot].life, self._welcome

    async def brief(self, context: tuple[Any] | Forks) -> None:
        """Take a reference to the context, or its server; in a tuple, Ray hands over the reference itself."""
        self._context = context
        await self._announce()

    async def context(self) -> tuple[Any] | Forks | None:
        """Wait for the context and give what was taken; None: there is nothing to do any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._context is not None or self._ended)
        return None if self._ended else self._context

    async def exchange(self, slot: int, life: int, outcome: Outcome | None) -> Assignment | None:
        """Take what became of the slot's leg and hand out the next one, as soon as there is one.

        Returns:
            The next leg, or None: the worker ends.
        """
        seat = self._seats[slot]
        if seat.life != life:
            return None
        seat.losses_before_leg = 0
        held, seat.held = seat.held, None
        if outcome is not None and held is not None and held.parcel.run == self._run.number:
            self._run.outcomes.append(outcome)
            await self._announce()
        seat.waiting = True
        async with self._changed:
            await self._changed.wait_for(lambda: self._run.queue or self._ended or seat.life != life)
        # No await from here on: the leg is still in the queue.
        if seat.life != life:
            return None
        seat.waiting = False
        if self._ended:
            return None
        parcel = self._run.queue.popleft()
        self._run.attempts[parcel.key] += 1
        seat.held = Assignment(parcel, self._run.attempts[parcel.key])
        return seat.held

    async def submit(self, run: int, parcels: Sequence[Parcel]) -> None:
        """Begin a run; what is left of the run before is dropped."""
        self._run = _Run(run, deque(parcels))
        await self._announce()

    async def add(self, run: int, parcels: Sequence[Parcel]) -> None:
        """Put further legs of the present run last in the queue."""
        if run == self._run.number:
            self._run.queue.extend(parcels)
            await self._announce()

    async def drop(self, run: int) -> None:
        """Forget the legs of a run that nobody waits for any more."""
        if run == self._run.number:
            self._run = _Run(run)

    async def collect(self, run: int) -> list[Outcome]:
        """Wait for outcomes of a run and take all there are; at least one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._run.outcomes or self._ended or run != self._run.number)
        if run != self._run.number:
            return [Outcome("ended", body="an engine has one run at a time: a later run has dropped this one")]
        outcomes, self._run.outcomes = self._run.outcomes, []
        return outcomes or [Outcome("ended", body=self._ended)]

    async def report_loss(self, slot: int) -> bool:
        """Note that the worker of a slot has ended; its leg goes to the front of the queue.

        Returns:
            Whether to start the slot once more if the next worker ends as well: False when `max_attempts`
            workers in a row would have ended before they asked for a leg.
        """
        seat = self._seats[slot]
        held, seat.held, seat.handle = seat.held, None, None
        seat.life += 1
        seat.waiting = False
        if held is None:
            seat.losses_before_leg += 1
        elif held.parcel.run != self._run.number:
            pass  # of a run that was dropped: nobody waits for it
        elif held.attempt < self._max_attempts:
            self._run.queue.appendleft(held.parcel)
        else:
            self._run.outcomes.append(Outcome("lost", held.parcel.key, attempt=held.attempt))
        await self._announce()
        return seat.losses_before_leg + 1 < self._max_attempts

    async def end(self, reason: str) -> list[bytes]:
        """Let idle workers end, and answer whoever waits for outcomes with the reason.

        Returns:
            Pickled handles of the workers that load or train: only ending their process ends them soon.
        """
        busy = [seat.handle for seat in self._seats if seat.handle is not None and not seat.waiting]
        self._ended = self._ended or reason
        await self._announce()
        return busy

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()
