"""Dry runs: a process of its own makes the plan of a spec, and is ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from service.api.problems import ProblemError
from service.errors import InvalidSpecError
from service.spec import Spec

MODULE = "service.dry_run"
MAX_WAITING = 8  # for each that runs; who comes later would not get an answer in time

log = structlog.get_logger("tuneladder.api")


class DryRuns:
    """Makes plans, a few at once.

    Args:
        store_url: Where earlier jobs are, for specs that start from them.
        limit_s: What one may take, waiting included.
        max_at_once: Processes at once.
    """

    def __init__(self, store_url: str, *, limit_s: float, max_at_once: int) -> None:
        self._store_url = store_url
        self._limit_s = limit_s
        self._max_waiting = MAX_WAITING * max_at_once
        self._places = asyncio.Semaphore(max_at_once)
        self._num = 0

    async def plan(self, spec: Spec, gone: Callable[[], Awaitable[None]]) -> Any:
        """Make the plan of a spec.

        Args:
            spec: The spec.
            gone: Returns when nobody waits for the plan any more.

        Returns:
            The plan; None where nobody waits for it any more.

        Raises:
            InvalidSpecError: The spec does not fit its data or its family.
            ProblemError: It takes too long, or too many wait already.
        """
        if self._num >= self._max_waiting:
            raise ProblemError(
                "rate_limited", "too many plans are being made: try again", headers={"Retry-After": "10"}
            )
        self._num += 1
        work = asyncio.create_task(self._in_turn(spec))
        leave = asyncio.ensure_future(gone())
        try:
            done, _ = await asyncio.wait({work, leave}, timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return work.result()
            if leave in done:
                return None
            raise ProblemError(
                "unavailable",
                f"a plan is made within {self._limit_s:g} s, this one was not: try again, or submit the job",
                headers={"Retry-After": "30"},
            )
        finally:
            self._num -= 1
            for task in (work, leave):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _in_turn(self, spec: Spec) -> Any:
        async with self._places:
            question = {
                "spec": spec.model_dump(mode="json"),
                "store_url": self._store_url,
                "limit_s": self._limit_s,
            }
            output, errors, code = await _run(json.dumps(question).encode())
        try:
            answer: Mapping[str, Any] = json.loads(output)
        except ValueError:
            last = errors.decode("utf-8", errors="replace").strip()[-2000:]
            log.error("a dry run ended without an answer", exit_code=code, stderr=last)
            raise ProblemError("internal", "the plan could not be made: the server's log says more") from None
        if "error" in answer:
            raise InvalidSpecError(answer["error"]["message"], field=answer["error"]["field"])
        return answer["plan"]


async def _run(question: bytes) -> tuple[bytes, bytes, int | None]:
    """Ask a new process, and end it with all that it started, whatever happens here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        MODULE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # a plan is timed on the CPU; a GPU is for jobs
    )
    try:
        output, errors = await process.communicate(question)
        return output, errors, process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
