"""`tuneladder watch`: a server's job as it runs, with the same table as `tuneladder run`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from service.cli.display import Display, make_display
from service.cli.jobs import print_job_result
from service.cli.options import JsonOption, QuietOption, ServerJobArgument, write_json
from service.cli.places import Place, ProfileOption, UrlOption, ask_server, find_server_place
from service.cli.results import job_summary
from service.cli.views import IncumbentView, JobView, OutcomeView, Standing, find_incumbent
from service.errors import JobFailedError

if TYPE_CHECKING:
    from service.client import Client, Event, Job

INCUMBENT_PERIOD_S = 2.0  # between two questions for the best trial, while old events come fast


def watch(
    job: ServerJobArgument,
    url: UrlOption = None,
    profile: ProfileOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Follow a job on a server until it ends, with the table that run shows; then show its result.

    The exit code is that of run: 0 completed, 1 failed or cancelled. Ctrl-C (130) ends the watching; the job goes
    on.
    """
    place = find_server_place(url, profile)
    with ask_server(place) as client:
        follow(client, client.job(job), place=place, quiet=quiet, as_json=as_json)


def follow(client: Client, job: Job, *, place: Place, quiet: bool, as_json: bool) -> None:
    """Show a job until it ends, and its result.

    Raises:
        JobFailedError: It failed, or was cancelled.
    """
    options = f"{job.id}{place.options}"
    try:
        with make_display(quiet=quiet) as display:
            Watched(client=client, job=job, display=display, resume=f"tuneladder resume {options}").follow()
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted: the job goes on; tuneladder watch {options} follows it again, tuneladder cancel "
            f"{options} ends it",
            err=True,
        )
        raise
    ended = client.job(job.id)
    if as_json:
        write_json(job_summary(ended))
    if ended.state != "completed":
        reason = f": {ended.message}" if ended.message else ""
        raise JobFailedError(f"job {job.id} {job.name} is {ended.state}{reason}")
    if not as_json:
        print_job_result(ended, place)


@dataclass
class Watched:
    """Turns a job's events into what a display shows.

    Args:
        client: Of the job's server.
        job: As it was when the watching began. What happened before is shown as where it led to.
        display: Shows it.
        resume: The command that a person types when the job is paused.
    """

    client: Client
    job: Job
    display: Display
    resume: str
    _phase: str = field(default="", init=False)  # of the job
    _said: str = field(default="", init=False)  # a broken connection comes between
    _mode: str | None = field(default=None, init=False)
    _stage: int = field(default=-1, init=False)
    _trials: dict[int, tuple[str, int]] = field(default_factory=dict, init=False)  # state and epochs, by number
    _outcomes: list[OutcomeView] = field(default_factory=list, init=False)
    _incumbent: IncumbentView | None = field(default=None, init=False)
    _is_incumbent_old: bool = field(default=False, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)

    def follow(self) -> None:
        """Show events until the job ends."""
        for event in self.client.watch(self.job.id, say=self._say):
            self._take(event)
            if event.number >= self.job.num_events - 1:
                self._say(self._phase)
                self._show()
        self._ask_for_incumbent()
        self._show()

    def _take(self, event: Event) -> None:
        from service.client import JobEvent, LegEvent, PlanEvent, RoundEvent, RungEvent, StageEvent

        match event:
            case JobEvent(data=change):
                self._phase = self._phase_of(change.state, change.wish)
            case PlanEvent(data=plan):
                self._mode = plan.mode
                self._start()
            case RoundEvent(data=asked):
                self._stage, self._is_incumbent_old = asked.stage, True
                self._trials |= dict.fromkeys(asked.trials, ("pending", 0))
            case LegEvent(data=leg):
                self._trials |= {m.trial: (m.state, m.epochs) for m in leg.members}
            case RungEvent(data=rung):
                self._trials |= {number: ("stopped", self._trials[number][1]) for number in rung.stopped}
            case StageEvent(data=stage) if stage.outcome is not None:
                self._outcomes.append(OutcomeView.of_record(stage.number, stage.outcome))
                self._is_incumbent_old = True

    def _phase_of(self, state: str, wish: str | None) -> str:
        if state == "running":
            return {None: "", "pause": "pausing at the end of the leg", "cancel": "ending"}.get(wish, "making way")
        return {
            "queued": "queued: waiting for a worker",
            "paused": f"paused: {self.resume} goes on with it",
        }.get(state, "")

    def _say(self, phase: str) -> None:
        if phase != self._said:
            self._said = phase
            self.display.phase(phase)

    def _start(self) -> None:
        job = self.client.job(self.job.id)
        if job.plan is not None:
            self.display.start(JobView.of_plan(job.plan, job_id=job.id, name=job.name))

    def _show(self) -> None:
        if self.display.job is None or not self._trials:
            return
        if self._is_incumbent_old and time.monotonic() - self._asked_at > INCUMBENT_PERIOD_S:
            self._ask_for_incumbent()
        self.display.update(
            Standing(
                stage=self._stage,
                epochs=sum(epochs for _, epochs in self._trials.values()),
                states=Counter(state for state, _ in self._trials.values()),
                incumbent=self._incumbent,
                outcomes=tuple(self._outcomes),
            )
        )

    def _ask_for_incumbent(self) -> None:
        """Ask for the best trial: events name no params."""
        self._incumbent = find_incumbent(self.client.trials(self.job.id), mode=self._mode)
        self._is_incumbent_old = False
        self._asked_at = time.monotonic()
