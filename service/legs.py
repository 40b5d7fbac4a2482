"""Legs and their results.

A leg is the only unit of work that travels: a cohort of trials, a start epoch with their checkpoints, an end
epoch. Its result is a pure function of the job's context and the leg, never of the slot that ran it.

Probes travel the same way: short trainings before the search that are no trials. Such a leg has one member and no
epochs, and its result a report in the place of measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MemberState = Literal["running", "completed", "diverged", "failed"]
LegKind = Literal["train", "overfit", "lr_range"]


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
    kind: LegKind = "train"  # the others are probes, whose epochs are 0
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of a probe


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
    report: Mapping[str, Any] | None = None  # of a probe: JSON


@dataclass(frozen=True, kw_only=True)
class LegResult:
    """The result of one leg: one `MemberResult` for each member, in the leg's order."""

    key: str
    members: tuple[MemberResult, ...]
    slot: int = 0
    attempt: int = 1  # the n-th execution of this leg
    wall_s: float = 0.0
    device: str = "cpu"
    fused: bool = False  # whether the members were one network
