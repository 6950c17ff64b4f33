"""Everything that goes wrong with an HTTP API, on demand.

In a test: ``world.faults.add("rate_limited", endpoint="/v1/balance_transactions", count=2, retry_after=1)``.
Out of process: ``POST /_faults`` with the same names as JSON, ``DELETE /_faults`` to heal everything.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, fields
from typing import Literal, get_args

from exporter.clock import Clock

Kind = Literal[
    "rate_limited",  # 429; retry_after in seconds when given
    "server_error",  # 500; should_retry sets Stripe-Should-Retry
    "stall",  # half the body, then silence for `seconds`
    "truncated",  # half the body, with a matching Content-Length: the JSON is cut
    "html",  # 200 with a page of a proxy
    "unauthorized",  # 401, as after a revoked key
    "forbidden",  # 403 for requests that need `permission` (for every request of the endpoint when None)
    "latency",  # `seconds` more before the answer
    "rate_limit",  # more than `per_second` requests in a second get 429
    "late",  # new objects are listed `seconds` after their created
    "insert",  # after each page with more behind it, `rows` new charges appear
    "disconnect",  # the connection closes after the headers
]


@dataclass(slots=True)
class Fault:
    """Holds for ``count`` requests or until ``until`` (world's clock), whichever comes first; None is no limit."""

    kind: Kind
    endpoint: str | None = None
    """Applies to this path and what lies below it; None: to all of /v1."""
    count: int | None = None
    until: float | None = None
    retry_after: int | None = None
    should_retry: bool | None = None
    permission: str | None = None
    seconds: float = 0.0
    per_second: float = 0.0
    rows: int = 1

    def covers(self, path: str) -> bool:
        return self.endpoint is None or path == self.endpoint or path.startswith(self.endpoint + "/")


_NAMES = frozenset(field.name for field in fields(Fault)) - {"until"}


class Faults:
    """The faults in force. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._recent: deque[float] = deque()

    def add(
        self,
        kind: Kind,
        *,
        endpoint: str | None = None,
        count: int | None = None,
        duration: float | None = None,
        retry_after: int | None = None,
        should_retry: bool | None = None,
        permission: str | None = None,
        seconds: float = 0.0,
        per_second: float = 0.0,
        rows: int = 1,
    ) -> Fault:
        """Puts a fault in force. Raises ValueError on an unknown kind."""
        if kind not in get_args(Kind):
            raise ValueError(f"unknown fault {kind!r}; there are {', '.join(get_args(Kind))}")
        until = None if duration is None else self._clock.now() + duration
        fault = Fault(kind, endpoint, count, until, retry_after, should_retry, permission, seconds, per_second, rows)
        with self._lock:
            self._faults.append(fault)
        return fault

    def add_from(self, wish: dict[str, object]) -> Fault:
        """The same from JSON. Raises ValueError on unknown names."""
        unknown = set(wish) - _NAMES - {"duration"}
        if unknown or "kind" not in wish:
            raise ValueError(f"unknown or missing names in a fault: {sorted(unknown) or 'kind'}")
        return self.add(**wish)  # type: ignore[arg-type]

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._recent.clear()

    def take(self, path: str) -> list[Fault]:
        """The faults that this request meets; counts it against their limits."""
        if not self._faults:
            return []
        now = self._clock.now()
        met = []
        with self._lock:
            for fault in self._faults:
                if fault.until is not None and now >= fault.until:
                    continue
                if fault.kind == "late" or not fault.covers(path):
                    continue
                if fault.kind == "rate_limit" and self._within(fault.per_second):
                    continue
                met.append(fault)
            self._drop_spent(now)
        return met

    def spend(self, fault: Fault) -> bool:
        """Counts one use; False when the fault was already used up."""
        with self._lock:
            if fault.count is None:
                return True
            if fault.count <= 0:
                return False
            fault.count -= 1
            return True

    def lateness(self, now: float) -> float:
        """Seconds by which an object created now is listed late."""
        with self._lock:
            return max(
                (f.seconds for f in self._faults if f.kind == "late" and (f.until is None or now < f.until)),
                default=0.0,
            )

    def _within(self, per_second: float) -> bool:
        now = time.monotonic()  # a limit on requests is about real time, also under a fixed clock
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= per_second:
            return False
        self._recent.append(now)
        return True

    def _drop_spent(self, now: float) -> None:
        self._faults = [
            fault
            for fault in self._faults
            if (fault.until is None or now < fault.until) and (fault.count is None or fault.count > 0)
        ]
