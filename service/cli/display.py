"""What a person sees while a job runs: a live table on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.cli.results import params_text
from service.cli.views import JobView, Standing


class Display:
    """Shows nothing; the base of those that do."""

    def __init__(self) -> None:
        self.job: JobView | None = None

    def start(self, job: JobView) -> None:
        """Hear that a job begins, or which one is watched."""
        self.job = job

    def update(self, standing: Standing) -> None:
        """Hear that a leg is on record."""

    def phase(self, text: str) -> None:
        """Hear what else takes time; nothing does where the text is empty."""

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

    def start(self, job: JobView) -> None:
        """Say which job it is."""
        super().start(job)
        for line in (_headline(job), *_warnings(job)):
            self._console.print(line, markup=False)

    def update(self, standing: Standing) -> None:
        """Say how a stage ended, or now and then how far it is."""
        job = self.job
        assert job is not None
        for outcome in standing.outcomes[self._num_outcomes :]:
            name = job.stages[outcome.stage].name
            self._console.print(
                f"stage {outcome.stage} {name}: {outcome.num_trials} trials, {outcome.epochs} epochs: "
                f"{outcome.why}",
                markup=False,
            )
        self._num_outcomes = len(standing.outcomes)
        if time.monotonic() - self._shown > self.PERIOD_S:
            self._shown = time.monotonic()
            self._console.print(_standing(job, standing), markup=False)

    def phase(self, text: str) -> None:
        """Say it."""
        if text:
            self._console.print(f"{text} ...", markup=False)


class LiveDisplay(Display):
    """A table of the stages that is redrawn as legs come in."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._standing: Standing | None = None
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

    def update(self, standing: Standing) -> None:
        """Redraw with what is new."""
        self._standing = standing

    def phase(self, text: str) -> None:
        """Show it below the table."""
        self._phase = text

    def _render(self) -> Group | Text:
        parts: list[Table | Text] = []
        if self.job is not None:
            parts.append(Text(_headline(self.job), style="bold"))
            parts += [Text(line, style="yellow") for line in _warnings(self.job)]
            parts += standing_parts(self.job, self._standing)
        if self._phase:
            parts.append(Text(f"{self._phase} ... {time.monotonic() - self._began:.0f} s", style="dim"))
        return Group(*parts)


def standing_parts(job: JobView, standing: Standing | None) -> list[Table | Text]:
    """Show the stages, and below them how far the job is."""
    table = _stages_table(job, standing)
    return [table] if standing is None else [table, Text(_standing(job, standing))]


def _stages_table(job: JobView, standing: Standing | None) -> Table:
    table = Table("", "stage", "opens", "trials", "epochs", "result", box=None, pad_edge=False)
    outcomes = {outcome.stage: outcome for outcome in standing.outcomes} if standing else {}
    now = standing.stage if standing else -1
    for stage in job.stages:
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


def _headline(job: JobView) -> str:
    return f"job {job.job_id} {job.name}: {job.strategy}{job.where}"


def _warnings(job: JobView) -> list[str]:
    return [f"warning: {text}" for text in job.warnings]


def _standing(job: JobView, standing: Standing) -> str:
    trials = ", ".join(f"{count} {state}" for state, count in sorted(standing.states.items()))
    text = f"epochs {standing.epochs}/{job.budget_epochs}; trials: {trials}"
    if (best := standing.incumbent) is not None:
        text += f"\nincumbent: trial {best.number}, {job.metric} {best.value:.4f} ({params_text(best.params)})"
    return text


def make_display(*, quiet: bool) -> Display:
    """Choose: nothing when quiet, a live table on a terminal, plain lines elsewhere."""
    if quiet:
        return Display()
    console = Console(stderr=True, highlight=False, soft_wrap=not Console(stderr=True).is_terminal)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
