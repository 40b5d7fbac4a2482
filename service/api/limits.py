"""How often one token, or one address without a token, may ask."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from service.api.problems import ProblemError


class RateLimits:
    """Counts the requests of this process, in memory.

    Args:
        per_minute: Requests in any minute.
        burst: Requests in any second.
    """

    def __init__(self, *, per_minute: int, burst: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._items = (RateLimitItemPerMinute(per_minute), RateLimitItemPerSecond(burst))

    def count(self, who: str) -> None:
        """Count a request.

        Args:
            who: The id of a token, or an address.

        Raises:
            ProblemError: It is one too many; `Retry-After` says when the next one may come.
        """
        for item in self._items:
            if not self._limiter.hit(item, who):
                window = self._limiter.get_window_stats(item, who)
                wait_s = max(1, math.ceil(window.reset_time - time.time()))
                raise ProblemError(
                    "rate_limited",
                    f"at most {item.amount} requests come in {item.get_expiry()} s, this is one more: wait "
                    f"{wait_s} s",
                    headers={"Retry-After": str(wait_s)},
                )
