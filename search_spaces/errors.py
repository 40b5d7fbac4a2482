"""The one error of this package."""

from __future__ import annotations


class SpaceError(ValueError):
    """A parameter, a space or an order breaks a rule.

    Args:
        message: The rule, the values and the remedy.
        field: Dotted path below the space, such as `lr.low`.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
