"""What can go wrong between a client and its server, as branches of `service.errors`.

TuneladderError
├── ServerUnreachableError    no answer: wrong address, server down, TLS (exit code 1)
├── NotTuneladderError        an answer, but not this service's (exit code 2)
└── ApiError                  the server's answer is an error (exit code 2; 1 where the server is at fault)
    ├── ApiSpecError          also an InvalidSpecError
    ├── ApiNotFoundError      also a NotFoundError
    ├── ApiConflictError      also a ConflictError
    ├── ApiAccessError        no token, a wrong one, or one whose role is too low
    └── ApiBusyError          too many requests; `retry_after_s` says when to come back
"""

from __future__ import annotations

from service.errors import ConflictError, InvalidSpecError, NotFoundError, TuneladderError


class ServerUnreachableError(TuneladderError):
    """The server gave no answer.

    Args:
        message: The rule, the values and the remedy.
        is_passing: Whether another attempt may succeed, unlike with a certificate that is not trusted.
        may_have_arrived: Whether the server may have got the request before the connection was lost.
    """

    exit_code = 1

    def __init__(self, message: str, *, is_passing: bool = True, may_have_arrived: bool = False) -> None:
        super().__init__(message)
        self.is_passing = is_passing
        self.idempotency_key: str | None = None  # of a submission that may have arrived
        self.may_have_arrived = may_have_arrived


class NotTuneladderError(TuneladderError):
    """Something answers at this address, but not a tuneladder server."""

    exit_code = 2


class ApiError(TuneladderError):
    """The server's answer is an error.

    Args:
        detail: The message.
        status: HTTP's status code.
        code: The server's name for the error, such as `invalid_spec`.
        field: Dotted path of the field of the request that is wrong.
        retry_after_s: When to come back, where the server said so.
    """

    def __init__(
        self, detail: str, *, status: int, code: str, field: str | None = None, retry_after_s: float | None = None
    ) -> None:
        named = field is not None and not detail.startswith(f"{field}: ")
        super().__init__(f"{field}: {detail}" if named else detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.field = field
        self.retry_after_s = retry_after_s
        self.exit_code = 1 if status >= 500 else 2


class ApiSpecError(ApiError, InvalidSpecError):
    """The spec, or another part of the request, breaks a rule."""


class ApiNotFoundError(ApiError, NotFoundError):
    """What was asked for is not there, or belongs to somebody else."""


class ApiConflictError(ApiError, ConflictError):
    """The present state forbids the move."""


class ApiAccessError(ApiError):
    """There is no token, it is not known, or its role does not allow this."""


class ApiBusyError(ApiError):
    """Too many requests in a minute."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: ApiSpecError,
    401: ApiAccessError,
    403: ApiAccessError,
    404: ApiNotFoundError,
    409: ApiConflictError,
    413: ApiSpecError,
    415: ApiSpecError,
    422: ApiSpecError,
    429: ApiBusyError,
}


def api_error(
    detail: str, *, status: int, code: str, field: str | None = None, retry_after_s: float | None = None
) -> ApiError:
    """Make the error of the class that a status stands for."""
    kind = _BY_STATUS.get(status, ApiError)
    return kind(detail, status=status, code=code, field=field, retry_after_s=retry_after_s)
