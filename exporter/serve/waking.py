"""When a source that was woken is polled: soon, never twice at once, and never more often than its account can pay.

A storm of wishes is one poll that runs and at most one that waits. A poll that brought nothing new is followed by a few
more, seconds apart: a balance transaction may be listed after the event that tells of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

GAP = 1.0
"""Seconds from the end of a poll to the begin of a woken one."""
AGAIN_AFTER = (2.0, 5.0, 15.0)
"""Seconds to the next polls after a woken one that brought nothing new; then the ordinary interval goes on."""
BURST = 60.0
"""Woken polls that an account may have at once, before ``rate`` bounds them."""


@dataclass
class _Source:
    running: bool = False
    wished: bool = False
    """Somebody has asked since the last poll began."""
    woken: bool = False
    """The poll that runs, or ran last, was asked for."""
    planned: bool = False
    ended: float = float("-inf")
    again: int = len(AGAIN_AFTER)
    """Further polls that were made after the last wish."""


@dataclass
class Bucket:
    """Woken polls that an account may still have; ``rate`` of them come back each second."""

    rate: Callable[[], float]
    tokens: float = BURST
    at: float = field(default=float("nan"))

    def delay(self, now: float) -> float:
        """Take one, and return the seconds until it is there."""
        rate = self.rate()
        if rate <= 0:
            return float("inf")
        if self.at == self.at:  # not the first time
            self.tokens = min(BURST, self.tokens + (now - self.at) * rate)
        self.at = now
        self.tokens = max(-BURST, self.tokens - 1)
        return max(0.0, -self.tokens / rate)


class Waker:
    """Plans the polls of woken sources. ``plan(source, seconds)`` brings a source's next poll forward to then.

    ``rate(source)`` is the woken polls per second that its account carries for long. Thread-safe.
    """

    def __init__(
        self,
        plan: Callable[[str, float], None],
        rate: Callable[[str], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._rate = rate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._buckets: dict[str, Bucket] = {}

    def wake(self, source: str) -> None:
        """Something has changed there."""
        with self._lock:
            one = self._sources.setdefault(source, _Source())
            one.wished, one.again = True, 0
            if one.running or one.planned:
                return
            self._plan_in(source, one, GAP - (self._monotonic() - one.ended))

    def began(self, source: str) -> bool:
        """A poll begins, for whatever reason; returns whether somebody has asked for it."""
        with self._lock:
            one = self._sources.setdefault(source, _Source())
            one.woken = one.wished or (one.planned and one.again > 0)
            one.running, one.wished, one.planned = True, False, False
            return one.woken

    def ended(self, source: str, news: bool) -> None:
        """The poll has ended; ``news``: it has changed what is stored."""
        with self._lock:
            one = self._sources.setdefault(source, _Source())
            one.running, one.ended = False, self._monotonic()
            if one.wished:
                self._plan_in(source, one, GAP)
            elif news:
                one.again = len(AGAIN_AFTER)
            elif one.woken and one.again < len(AGAIN_AFTER):
                one.again += 1
                self._plan_in(source, one, AGAIN_AFTER[one.again - 1])

    def _plan_in(self, source: str, one: _Source, seconds: float) -> None:
        account = source.rpartition("/")[0]
        bucket = self._buckets.setdefault(account, Bucket(lambda: self._rate(source)))
        seconds = max(0.0, seconds, bucket.delay(self._monotonic()))
        if seconds != float("inf"):  # else the next ordinary poll serves the wish
            one.planned = True
            self._plan(source, seconds)
