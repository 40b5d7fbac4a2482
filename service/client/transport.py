"""Requests and answers: addresses, retries, and errors that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import IO, Any
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from service.client.errors import ApiError, NotTuneladderError, ServerUnreachableError, api_error
from service.errors import InvalidSpecError

CONNECT_S = 5.0
NUM_ATTEMPTS = 4
LONGEST_WAIT_S = 30.0  # what a server may make a request wait
PASSING = frozenset({429, 502, 503, 504})
_backoff = wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1)


def check_url(url: str) -> str:
    """Check a server's address and write it without a slash at its end.

    Raises:
        InvalidSpecError: It is no http or https address, or names more than the server.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSpecError(
            f"a server's address begins with http:// or https://, got {url!r}: write it like http://localhost:8400"
        )
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or path.endswith("/v1"):
        raise InvalidSpecError(f"a server's address ends before /v1, got {url!r}: leave the rest out")
    return f"{parts.scheme}://{parts.netloc}{path}"


def check_token(token: str) -> str:
    """Check that a token can travel in a header.

    Raises:
        InvalidSpecError: It is empty or holds what no token has. The message does not repeat it.
    """
    text = token.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidSpecError(
            "a token is one word of letters, digits, - and _, got something else: copy it again"
        )
    return text


class Transport:
    """Sends requests to one server.

    Args:
        url: The server's address.
        token: The bearer token; None asks as nobody.
        timeout_s: How long the server may be silent.
    """

    def __init__(self, url: str, token: str | None, *, timeout_s: float) -> None:
        self.url = check_url(url)
        headers = {"User-Agent": f"tuneladder/{version('tuneladder')}", "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {check_token(token)}"
        self.has_token = token is not None
        self._timeout_s = timeout_s
        self._http = httpx.Client(base_url=self.url, headers=headers)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send a request and give its answer, which is a good one.

        Args:
            method: HTTP's.
            path: Below the server's address.
            params: For the query; None is left out.
            body: Sent as JSON.
            content: Sent as it is.
            headers: Beside the usual ones.
            repeatable: Whether to send it again when an answer is lost; default: only a GET.
            timeout_s: How long the server may be silent; default: as long as for all requests.

        Raises:
            ServerUnreachableError: No answer.
            NotTuneladderError: An answer of something else.
            ApiError: The answer is an error.
        """
        request = self._http.build_request(
            method,
            path,
            params=_without_none(params),
            json=body,
            content=content,
            headers=dict(headers or {}),
            timeout=httpx.Timeout(timeout_s or self._timeout_s, connect=CONNECT_S),
        )
        is_repeatable = method == "GET" if repeatable is None else repeatable
        for attempt in _attempts(is_repeatable):
            with attempt, self._errors():
                response = self._http.send(request)
                self._check(response)
        return response

    def ask_json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request whose answer is JSON; see `ask`."""
        return self.read_json(self.ask(method, path, **options))

    def read_json(self, response: httpx.Response) -> Any:
        """Read an answer's JSON.

        Raises:
            NotTuneladderError: It holds none.
        """
        if not _is_json(response):
            raise self._stranger(response)
        try:
            return response.json()
        except ValueError:
            raise self._stranger(response) from None

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        kind: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float,
    ) -> Iterator[httpx.Response]:
        """GET an answer that is read as it comes, once and without retries.

        Args:
            path: Below the server's address.
            kind: The media type that is expected.
            params: For the query; None is left out.
            headers: Beside the usual ones.
            silence_s: How long the server may be silent before the connection counts as lost.

        Raises:
            ServerUnreachableError: No answer, or it breaks off, in the caller's block too.
            NotTuneladderError: An answer of something else.
            ApiError: The answer is an error.
        """
        with (
            self._errors(),
            self._http.stream(
                "GET",
                path,
                params=_without_none(params),
                headers={"Accept": f"{kind}, application/problem+json", **(headers or {})},
                timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
            ) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response)
            if response.headers.get("content-type", "").partition(";")[0] != kind:
                raise self._stranger(response)
            yield response

    def fetch(self, path: str, file: IO[bytes], *, kind: str) -> None:
        """GET an answer into a file, from its start again when the connection breaks; see `stream`."""
        for attempt in _attempts(is_repeatable=True):
            with attempt:
                file.seek(0)
                file.truncate()
                with self.stream(path, kind=kind, silence_s=self._timeout_s) as response:
                    for chunk in response.iter_bytes():
                        file.write(chunk)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what a failed connection means."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise ServerUnreachableError(
                f"a server must answer, {self.url} did not within {CONNECT_S:g} s: check the address and "
                "the way there"
            ) from None
        except httpx.TimeoutException:
            raise ServerUnreachableError(
                f"the server at {self.url} took the request and said nothing in time: try again, or look at its "
                "log",
                may_have_arrived=True,
            ) from None
        except httpx.ConnectError as error:
            raise self._no_connection(error) from None
        except httpx.TransportError as error:
            raise ServerUnreachableError(
                f"the connection to {self.url} broke off ({_reason(error)}): try again; if it stays so, check "
                "the address, https or http included",
                may_have_arrived=True,
            ) from None

    def _no_connection(self, error: httpx.ConnectError) -> ServerUnreachableError:
        cause = _cause(error, ssl.SSLError)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerUnreachableError(
                f"the certificate of {self.url} must be trusted, got: {cause.verify_message}: check the address, "
                "or name your authority's certificates in SSL_CERT_FILE",
                is_passing=False,
            )
        if cause is not None:
            return ServerUnreachableError(
                f"TLS with {self.url} failed ({getattr(cause, 'reason', None) or cause}): check whether the "
                "server speaks https or http",
                is_passing=False,
            )
        return ServerUnreachableError(
            f"a server must listen at {self.url}, got: {_reason(error)}: start it, or give another --url or "
            "--profile"
        )

    def _check(self, response: httpx.Response) -> None:
        """Raise what an answer stands for, unless it is a good one."""
        if response.is_success:
            return
        status = response.status_code
        problem = _problem(response)
        if problem is not None:
            detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
            if status == 401 and not self.has_token:
                detail = f"{self.url} wants a token: set TUNELADDER_TOKEN, or `tuneladder profile set` one"
            raise api_error(
                detail,
                status=status,
                code=str(problem["code"]),
                field=problem.get("field"),
                retry_after_s=_retry_after(response),
            )
        if status in PASSING:
            raise api_error(
                f"{self.url} is not available now (status {status}): try again later",
                status=status,
                code="unavailable",
                retry_after_s=_retry_after(response),
            )
        raise self._stranger(response)

    def _stranger(self, response: httpx.Response) -> NotTuneladderError:
        kind = response.headers.get("content-type", "").partition(";")[0] or "no type"
        to = response.headers.get("location")
        text = f"it answers {response.request.url.path} with status {response.status_code} and {kind}"
        remedy = f"did you mean {to}?" if response.is_redirect and to else "check the address"
        return NotTuneladderError(f"a tuneladder server must be at {self.url}, but {text}: {remedy}")


def _attempts(is_repeatable: bool) -> Retrying:
    def is_worth_it(error: BaseException) -> bool:
        if isinstance(error, ApiError):  # refused for its number: nothing has happened
            return error.status == 429 or (is_repeatable and error.status in PASSING)
        return is_repeatable and isinstance(error, ServerUnreachableError) and error.is_passing

    return Retrying(retry=retry_if_exception(is_worth_it), stop=_give_up, wait=_wait, reraise=True)


def _asked_to_wait(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after_s if isinstance(error, ApiError) else None


def _give_up(state: RetryCallState) -> bool:
    return stop_after_attempt(NUM_ATTEMPTS)(state) or (_asked_to_wait(state) or 0) > LONGEST_WAIT_S


def _wait(state: RetryCallState) -> float:
    return max(_backoff(state), _asked_to_wait(state) or 0)


def _problem(response: httpx.Response) -> Mapping[str, Any] | None:
    if not _is_json(response):
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, Mapping) and "code" in body else None


def _is_json(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "").partition(";")[0].strip()
    return kind == "application/json" or kind.endswith("+json")


def _retry_after(response: httpx.Response) -> float | None:
    text: str = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def _without_none(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Find an error of a kind among those that led to this one."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, kind):
        found = found.__cause__ or found.__context__
    return found


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
