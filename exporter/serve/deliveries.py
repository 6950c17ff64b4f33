"""Between the webhook listener and the polls: replay memory, counts, and wake-ups that reach the writer.

What is heard wakes the polls of this process at once. What must be kept (counts, ids, wake-ups for another replica) is
written in batches by a job, without the writer's lease: it moves no figure and no cursor.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from exporter.clock import Clock
from exporter.serve.hints import Hint, streams_of
from exporter.serve.webhook import Result
from exporter.store.database import Store
from exporter.store.sourcenames import stripe_source
from exporter.store.webhooks import (
    add_deliveries,
    drop_wake_ups,
    leave_wake_ups,
    remember_deliveries,
    remembered_deliveries,
    wake_ups,
)

REMEMBERED = 3 * 86_400.0
"""Seconds that an event is known: Stripe delivers again for three days. https://docs.stripe.com/webhooks#retries"""
MOST_REMEMBERED = 50_000


class Deliveries:
    """``wake(source)`` polls a source of this process soon. Any method may be called from any thread."""

    def __init__(
        self, store: Store, clock: Clock, wake: Callable[[str], None], test_mode: Callable[[str], bool]
    ) -> None:
        """``test_mode(account)``: whether its key is a test-mode key; events of the other mode say nothing of it."""
        self._store = store
        self._clock = clock
        self._wake = wake
        self._test_mode = test_mode
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}  # oldest first
        self._counts: Counter[tuple[str, str]] = Counter()
        self._fresh: dict[str, float] = {}
        self._woken: set[str] = set()
        self.writer = False
        """Whether this process polls; otherwise what it hears is left for the one that does."""
        self.soon: Callable[[], None] = lambda: None
        """Called when something waits to be written that another process waits for."""

    def load(self) -> None:
        """Remember what was delivered before this process began."""
        with self._store.read() as connection:
            known = remembered_deliveries(connection, self._clock.now() - REMEMBERED, MOST_REMEMBERED)
        with self._lock:
            self._seen = known | self._seen

    def count(self, account: str, result: Result) -> None:
        """A delivery came to this."""
        with self._lock:
            self._counts[account, result] += 1

    def hear(self, account: str, hint: Hint) -> None:
        """An authentic event: wake what it is a reason to poll, unless it was heard before."""
        now = self._clock.now()
        streams = streams_of(hint.type) if hint.livemode != self._test_mode(account) else ()
        with self._lock:
            duplicate = hint.id in self._seen
            if not duplicate:
                self._seen[hint.id] = self._fresh[hint.id] = now
                if len(self._seen) > MOST_REMEMBERED:
                    del self._seen[next(iter(self._seen))]
            result: Result = "duplicate" if duplicate else "accepted" if streams else "ignored"
            self._counts[account, result] += 1
            sources = [stripe_source(account, stream) for stream in streams] if not duplicate else []
            here = self.writer
            if not here:
                self._woken.update(sources)
        for source in sources if here else ():
            self._wake(source)
        if sources and not here:
            self.soon()

    def exchange(self) -> None:
        """Write what was heard here, and take the wake-ups that other replicas have left, if this process polls."""
        self._write()
        if self.writer and not self._store.is_sqlite:
            with self._store.read() as connection:
                sources = wake_ups(connection)
            if sources:
                with self._store.write() as connection:
                    drop_wake_ups(connection, sources)
                for source in sources:
                    self._wake(source)

    def _write(self) -> None:
        now = self._clock.now()
        with self._lock:
            counts, fresh, woken = self._counts, self._fresh, self._woken
            self._counts, self._fresh, self._woken = Counter(), {}, set()
            for id_, at in list(self._seen.items())[: len(fresh) + 1]:
                if at < now - REMEMBERED:
                    del self._seen[id_]
        if not counts:
            return
        try:
            with self._store.begin() as connection:
                add_deliveries(connection, counts, now)
                remember_deliveries(connection, fresh, now - REMEMBERED)
                leave_wake_ups(connection, woken, now)
        except BaseException:
            with self._lock:  # nothing is lost: it is written the next time
                self._counts.update(counts)
                self._fresh = fresh | self._fresh
                self._woken |= woken
            raise
