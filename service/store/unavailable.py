"""What a person is told when the database does not answer, without its password."""

from __future__ import annotations

import re

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from service.errors import StoreUnavailableError

# What PostgreSQL says, and what helps. The wording is that of the server and its library, in English.
_REMEDIES = (
    (r"password authentication failed|no password supplied", "check user and password of the store's URL"),
    (r"no pg_hba.conf entry", "let this host and user in, in the server's pg_hba.conf"),
    (r"database .* does not exist", "create it: createdb"),
    (r"role .* does not exist", "create the user: createuser"),
    (r"too many (clients|connections)|remaining connection slots", "raise max_connections of the server"),
    (r"resolve host|Name or service not known|name resolution", "check the host of the store's URL"),
    (r"permission denied", "grant the user its rights: the store makes and owns its tables"),
    (r"lock timeout|deadlock|statement timeout|database is locked", "try again"),
    (r"disk is full|No space left", "free some space"),
    (r"refused|timeout expired|timed out|unreachable|No such file", "start the server, or check host and port"),
)


def unavailable(error: SQLAlchemyError, url: URL) -> StoreUnavailableError:
    """Turn what the database's library raised into the error for people."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    said = " ".join(re.sub(r"\(Background on this error at: .*\)", "", said).split())
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, said)), "see the server's log")
    if url.password:  # no server is known to say it, and none gets the chance
        said = said.replace(str(url.password), "***")
    return StoreUnavailableError(
        f"the store must answer, {url.render_as_string(hide_password=True)} does not ({said}): {remedy}"
    )
