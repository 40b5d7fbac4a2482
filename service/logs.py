"""How a server or a worker writes its log: a line an event on standard error, JSON where nobody looks on."""

from __future__ import annotations

import sys
from typing import Any

import structlog


def set_up_logs() -> None:
    """Set the form of every line that this process logs: for a person on a terminal, for programs elsewhere."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        # Without the values of variables, some of which are secrets.
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(processors=processors, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
