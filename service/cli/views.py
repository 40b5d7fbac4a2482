"""A job and where it stands, as data for the screen: of a run in this process, or of a server's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.cli.records import StageLike, TrialLike


@dataclass(frozen=True, kw_only=True)
class StageView:
    """A stage of the plan."""

    number: int
    name: str
    opens: tuple[str, ...]
    max_epochs: int


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job with its plan."""

    job_id: str
    name: str
    strategy: str
    metric: str
    budget_epochs: int
    stages: tuple[StageView, ...]
    where: str = ""  # such as ` on 2 slots`
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_plan(
        cls, plan: Mapping[str, Any], *, job_id: str, name: str, where: str = "", warnings: Sequence[str] = ()
    ) -> JobView:
        """Read a plan as it stands on record."""
        stages = tuple(
            StageView(number=s["number"], name=s["name"], opens=tuple(s["opens"]), max_epochs=s["max_epochs"])
            for s in plan["stages"]
        )
        return cls(
            job_id=job_id,
            name=name,
            strategy=plan["strategy"],
            metric=plan["metric"],
            budget_epochs=plan["budget_epochs"],
            stages=stages,
            where=where,
            warnings=tuple(warnings),
        )


@dataclass(frozen=True, kw_only=True)
class IncumbentView:
    """The best trial so far."""

    number: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class OutcomeView:
    """How a stage ended."""

    stage: int
    num_trials: int
    epochs: int
    adopted: bool
    why: str

    @classmethod
    def of_record(cls, stage: int, outcome: Mapping[str, Any]) -> OutcomeView:
        """Read an outcome as it stands on record."""
        known = {name: outcome[name] for name in ("num_trials", "epochs", "adopted", "why")}
        return cls(stage=stage, **known)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a job stands."""

    stage: int
    epochs: int  # trained so far
    states: Mapping[str, int]  # trials by state
    incumbent: IncumbentView | None
    outcomes: tuple[OutcomeView, ...]

    @classmethod
    def of_record(cls, stages: Iterable[StageLike], trials: Sequence[TrialLike], *, mode: str | None) -> Standing:
        """Read where a job stands from its record."""
        outcomes = tuple(OutcomeView.of_record(s.number, s.outcome) for s in stages if s.outcome is not None)
        return cls(
            stage=trials[-1].stage if trials else -1,
            epochs=sum(trial.epochs for trial in trials),
            states=dict(Counter(str(trial.state) for trial in trials)),
            incumbent=find_incumbent(trials, mode=mode),
            outcomes=outcomes,
        )


def find_incumbent(trials: Iterable[TrialLike], *, mode: str | None) -> IncumbentView | None:
    """Find the best trial that has come to its end; ties go to the lower number."""
    sign = 1 if mode == "min" else -1
    ended = [
        (sign * t.best_value, t.number, t) for t in trials if t.state == "completed" and t.best_value is not None
    ]
    if not ended:
        return None
    loss, number, best = min(ended, key=lambda entry: entry[:2])
    return IncumbentView(number=number, value=sign * loss, params=best.params)
