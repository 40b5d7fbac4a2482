"""The two errors of this package; both are ValueErrors that name the rule, the values and the remedy."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config breaks a rule.

    Args:
        message: The rule, the values and the remedy.
        field: Name of the config's field, such as `dropout`.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class DataError(ValueError):
    """A file or a table cannot be used as data.

    Args:
        message: The rule, the values and the remedy.
        field: Name of the data source's field, such as `target`.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
