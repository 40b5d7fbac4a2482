"""Which form of an answer a client takes (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request

from service.api.problems import ProblemError


def choose(accept: str, offered: tuple[str, ...]) -> str | None:
    """Choose the media type that a client likes best; among equals the first that is offered.

    Args:
        accept: The header; empty: anything.
        offered: Media types.

    Returns:
        None where the client takes none of them.
    """
    ranges = [_parse(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    likings = {media_type: _liking(media_type, ranges) for media_type in offered}
    best = max(offered, key=lambda media_type: likings[media_type])
    return best if likings[best] > 0 else None


def offers(*media_types: str) -> Callable[[Request], str]:
    """Make the dependency that chooses among media types.

    Raises:
        ProblemError: The client takes none of them.
    """

    def check(request: Request) -> str:
        accept = ",".join(request.headers.getlist("accept"))
        chosen = choose(accept, media_types)
        if chosen is None:
            raise ProblemError(
                "not_acceptable",
                f"the answer comes as {' or '.join(media_types)}, asked for was {accept[:200]}: change Accept",
                field="header.accept",
            )
        return chosen

    return check


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((text.removeprefix("q=") for text in parameters if text.startswith("q=")), "1")
    try:
        return media_range, min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return media_range, 1.0


def _liking(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Give the quality of the most specific range that covers a media type."""
    family = f"{media_type.partition('/')[0]}/*"
    for wanted in (media_type, family, "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0
