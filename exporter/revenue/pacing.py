"""How fast Stripe is asked: below its limits (25 per second and endpoint), and slower when it says so.

https://docs.stripe.com/rate-limits
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """A token bucket for all threads of one account: ``rate`` requests per second, a burst of two.

    Each refusal takes a quarter of the rate, each answer gives one percent of the limit back. Where Stripe says how
    long to wait, everybody does.
    """

    def __init__(
        self, rate: float, sleep: Callable[[float], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = rate
        self.rate = rate
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next = monotonic()
        self._slowed_at = self._next - 1

    def wait(self) -> None:
        """Return when the next request may go out."""
        with self._lock:
            now = self._monotonic()
            slot = max(self._next, now)
            self._next = slot + 1 / self.rate
        if slot > now:
            self._sleep(slot - now)

    def refused(self, seconds: float) -> None:
        """Stripe said 429: go slower, and let nobody ask for ``seconds``."""
        with self._lock:
            now = self._monotonic()
            if now - self._slowed_at >= 1:
                self._slowed_at = now
                self.rate = max(1.0, self.rate * 3 / 4)
            self._next = max(self._next, now + seconds)

    def answered(self) -> None:
        """Stripe answered: go back towards the limit."""
        if self.rate < self.limit:
            with self._lock:
                self.rate = min(self.limit, self.rate + self.limit / 100)
