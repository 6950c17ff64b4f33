"""How fast Stripe is asked: below its limits, slower when it says so, and never beyond the read allowance.

Limits: https://docs.stripe.com/rate-limits (25 requests per second and endpoint; 500 reads per transaction over
30 days, 10,000 at least).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DAY = 86_400
ALLOWANCE_SPAN = 30 * DAY
ALLOWANCE_FLOOR = 10_000
READS_PER_TRANSACTION = 500

FLOOR_INTERVAL = 900
"""Seconds between polls that an account at the floor of the allowance can afford: about 6,500 of its 10,000 reads."""
FASTEST_INTERVAL = 30


class Pace:
    """A token bucket for all threads of one account: ``rate`` requests per second, a burst of two.

    After a refusal everybody waits, and the rate halves; each answer brings it back by one percent of the limit.
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

    def wait(self) -> None:
        """Return when the next request may go out."""
        with self._lock:
            now = self._monotonic()
            slot = max(self._next, now - 1 / self.rate)
            self._next = slot + 1 / self.rate
        if slot > now:
            self._sleep(slot - now)

    def refused(self, seconds: float) -> None:
        """Stripe said 429: nobody asks for ``seconds``."""
        with self._lock:
            self.rate = max(1.0, self.rate / 2)
            self._next = max(self._next, self._monotonic() + seconds)

    def answered(self) -> None:
        """Stripe answered: go back towards the limit."""
        if self.rate < self.limit:
            with self._lock:
                self.rate = min(self.limit, self.rate + self.limit / 100)


def read_allowance(transactions: int) -> int:
    """Reads that Stripe allows in 30 days to an account with so many transactions in them."""
    return max(ALLOWANCE_FLOOR, READS_PER_TRANSACTION * transactions)


def effective_interval(configured: float, transactions: int) -> float:
    """Seconds between polls: as configured, but not faster than the account's read allowance carries.

    900 s at the floor; down to 30 s as the allowance grows.
    """
    affordable = FLOOR_INTERVAL * ALLOWANCE_FLOOR / read_allowance(transactions)
    return max(configured, FASTEST_INTERVAL, affordable)
