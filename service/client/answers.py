"""Answers as models: one thing, or pages of things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from service.client.errors import NotTuneladderError
from service.client.models import Page
from service.client.transport import Transport

PAGE_SIZE = 200  # the most that a server gives
T = TypeVar("T")


class Answers:
    """Asks a server and reads what it says as models.

    Args:
        transport: To the server.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, path: str, kind: type[T], params: Mapping[str, Any] | None = None) -> T:
        """GET something."""
        return self.read(self._transport.ask_json("GET", path, params=params), kind)

    def post(self, path: str, kind: type[T], *, body: Any = None) -> T:
        """POST something, as JSON."""
        return self.read(self._transport.ask_json("POST", path, body=body), kind)

    def pages(self, path: str, kind: type[T], params: Mapping[str, Any], *, limit: int | None) -> Iterator[T]:
        """GET the items of all pages, a request for each page when it is needed."""
        left, cursor = limit, None
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page: Page[T] = self.get(path, Page[kind], {**params, "limit": size, "cursor": cursor})  # type: ignore[valid-type]
            yield from page.items[:left]
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return

    def read(self, body: Any, kind: type[T]) -> T:
        """Read an answer as what it should be."""
        try:
            return TypeAdapter(kind).validate_python(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the answer"
            raise NotTuneladderError(
                f"{self._transport.url} must answer as this version of tuneladder expects, got {where}: "
                f"{first['msg']}: check the address, and that client and server are of the same version"
            ) from None
