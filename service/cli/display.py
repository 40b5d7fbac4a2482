"""What a person sees while a job runs: a live table on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.cli.results import params_text

if TYPE_CHECKING:  # torch is behind them, and `tuneladder --help` needs none
    from service.job_run import Started
    from service.runner import Progress


class Display:
    """Shows nothing; the base of those that do."""

    def __init__(self) -> None:
        self.started: Started | None = None

    def start(self, started: Started) -> None:
        """Hear that a job begins."""
        self.started = started

    def update(self, progress: Progress) -> None:
        """Hear that a leg is on record."""

    def phase(self, text: str) -> None:
        """Hear what else takes time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it should stay."""


class PlainDisplay(Display):
    """One line for the start, for each ended stage, and at most one every ten seconds between."""

    PERIOD_S = 10.0

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._shown = 0.0
        self._num_outcomes = 0

    def start(self, started: Started) -> None:
        """Say which job it is."""
        super().start(started)
        for line in (_headline(started), *_warnings(started)):
            self._console.print(line, markup=False)

    def update(self, progress: Progress) -> None:
        """Say how a stage ended, or now and then how far it is."""
        started = self.started
        assert started is not None
        for outcome in progress.outcomes[self._num_outcomes :]:
            name = started.plan.stages[outcome.stage].name
            self._console.print(
                f"stage {outcome.stage} {name}: {outcome.num_trials} trials, {outcome.epochs} epochs: "
                f"{outcome.why}",
                markup=False,
            )
        self._num_outcomes = len(progress.outcomes)
        if time.monotonic() - self._shown > self.PERIOD_S:
            self._shown = time.monotonic()
            self._console.print(_standing(started, progress), markup=False)

    def phase(self, text: str) -> None:
        """Say it."""
        self._console.print(f"{text} ...", markup=False)


class LiveDisplay(Display):
    """A table of the stages that is redrawn as legs come in."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._phase = ""
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._phase = ""
        self._live.__exit__(kind, error, trace)

    def update(self, progress: Progress) -> None:
        """Redraw with what is new."""
        self._progress = progress

    def phase(self, text: str) -> None:
        """Show it below the table."""
        self._phase = text

    def _render(self) -> Group | Text:
        parts: list[Table | Text] = []
        if self.started is not None:
            parts.append(Text(_headline(self.started), style="bold"))
            parts += [Text(line, style="yellow") for line in _warnings(self.started)]
            parts.append(self._table(self.started))
            if self._progress is not None:
                parts.append(Text(_standing(self.started, self._progress)))
        if self._phase:
            parts.append(Text(f"{self._phase} ... {time.monotonic() - self._began:.0f} s", style="dim"))
        return Group(*parts)

    def _table(self, started: Started) -> Table:
        table = Table("", "stage", "opens", "trials", "epochs", "result", box=None, pad_edge=False)
        outcomes = {o.stage: o for o in self._progress.outcomes} if self._progress else {}
        now = self._progress.stage if self._progress else -1
        for stage in started.plan.stages:
            outcome = outcomes.get(stage.number)
            opens = ", ".join(stage.opens) if len(stage.opens) < 4 else "everything"
            if outcome is not None:
                mark, style = ("+", "green") if outcome.adopted else ("=", "")
                row = (mark, stage.name, opens, str(outcome.num_trials), str(outcome.epochs), outcome.why)
            else:
                running = stage.number == now
                style = "bold" if running else "dim"
                row = (">" if running else "", stage.name, opens, "", f"<= {stage.max_epochs}", "")
            table.add_row(*(Text(cell) for cell in row), style=style)
        return table


def _headline(started: Started) -> str:
    resumed = " (going on from its record)" if started.resumed else ""
    slots = f"{started.num_slots} slot{'s' if started.num_slots > 1 else ''}"
    return f"job {started.job.id} {started.job.name}: {started.plan.strategy} on {slots}{resumed}"


def _warnings(started: Started) -> list[str]:
    return [f"warning: {text}" for text in started.warnings]


def _standing(started: Started, progress: Progress) -> str:
    trials = ", ".join(f"{count} {state}" for state, count in sorted(progress.states.items()))
    text = f"epochs {progress.epochs}/{started.plan.budget_epochs}; trials: {trials}"
    if progress.incumbent is not None and progress.incumbent_value is not None:
        text += (
            f"\nincumbent: trial {progress.incumbent.number}, {started.plan.metric} "
            f"{progress.incumbent_value:.4f} ({params_text(progress.incumbent.params)})"
        )
    return text


def make_display(*, quiet: bool) -> Display:
    """Choose: nothing when quiet, a live table on a terminal, plain lines elsewhere."""
    if quiet:
        return Display()
    console = Console(stderr=True, highlight=False, soft_wrap=not Console(stderr=True).is_terminal)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
