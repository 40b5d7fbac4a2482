"""The errors that a person can meet, as one small tree.

TuneladderError
├── InvalidSpecError      the spec, or the data it names, breaks a rule (exit code 2)
│   └── ForbiddenFieldError       it names a file or a module that this server does not allow
├── InvalidSettingsError  a setting of the environment breaks a rule (exit code 2)
├── NotFoundError         a job, trial or bundle that is not there (exit code 2)
├── ConflictError         a move that the present state forbids (exit code 2)
│   ├── LeaseLostError            the job is another attempt's now, or runs no more
│   └── IdempotencyConflictError  a key that stands for another request
├── StoreUnavailableError the database does not answer (exit code 2)
├── EngineLostError       Ray cannot be reached, or has lost what it ran (exit code 1)
└── JobFailedError        the job ran and could not produce a winner (exit code 1)

A message names the rule, the values and the remedy, in this order.
"""

from __future__ import annotations


class TuneladderError(Exception):
    """Base of every error that is meant for a person."""

    exit_code = 1


class InvalidSpecError(TuneladderError, ValueError):
    """A spec, or the data that it names, breaks a rule.

    Args:
        message: The rule, the values and the remedy.
        field: Dotted path of the field in the spec, such as `search.rungs.min_epochs`.
    """

    exit_code = 2

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class ForbiddenFieldError(InvalidSpecError):
    """A spec names a file or a module that this server does not let it reach."""


class InvalidSettingsError(TuneladderError, ValueError):
    """A setting of the environment breaks a rule; the message names its variable."""

    exit_code = 2


class NotFoundError(TuneladderError, LookupError):
    """Something that was asked for by name or id does not exist."""

    exit_code = 2


class ConflictError(TuneladderError):
    """The present state forbids the move, for example a job that another process is running."""

    exit_code = 2


class LeaseLostError(ConflictError):
    """Whoever asks ran the job once, and does not any more: nothing of it goes on record."""


class IdempotencyConflictError(ConflictError):
    """An idempotency key names one request for good, and came again with another one."""


class StoreUnavailableError(TuneladderError):
    """The database does not answer, or refuses who asks; the message never holds a password."""

    exit_code = 2


class EngineLostError(TuneladderError, RuntimeError):
    """What trains is not there, or no more; the job goes on once it is."""

    exit_code = 1


class JobFailedError(TuneladderError):
    """The job ran to its end without a winner; the message says why."""

    exit_code = 1
