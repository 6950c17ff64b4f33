"""Whether a poll brought anything, and how often an account can be polled because somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from exporter.clock import Clock
from exporter.config import STRIPE, AccountSettings
from exporter.revenue.allowance import READS_PER_POLL, allowance_of
from exporter.store.database import AWAY, Store
from exporter.store.events import seen_events
from exporter.store.ledger import row_counts
from exporter.store.sourcenames import owner_of, stripe_account

SHARE = 0.25
"""Part of the pace of the read allocation that woken polls may take; steady ones take two thirds."""
UNBOUND = 1e6
LOOKED_UP_EVERY = 600.0


class News:
    """What changes when a poll of this account has stored something new."""

    def __init__(self, store: Store, account: str) -> None:
        self._store = store
        self._account = account

    def ledger(self) -> int:
        """Rows of the ledger."""
        with self._store.read() as connection:
            return row_counts(connection).get(self._account, 0)

    def events(self) -> tuple[int, int]:
        """Events that were acted upon lately: how many, and the time of the newest."""
        with self._store.read() as connection:
            return seen_events(connection, f"{stripe_account(self._account)}/")


class WakeRates:
    """``rates(source)``: woken polls per second that the account's read allocation carries for long.

    Only Stripe itself has an allocation; another server is polled as often as it is asked for.
    """

    def __init__(self, store: Store, clock: Clock, accounts: Callable[[], Sequence[AccountSettings]]) -> None:
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._known: dict[str, tuple[float, float]] = {}

    def __call__(self, source: str) -> float:
        name = owner_of(source)
        if not any(one.name == name and one.api_base == STRIPE for one in self._accounts()):
            return UNBOUND
        at, rate = self._known.get(name, (float("-inf"), 0.0))
        if time.monotonic() - at > LOOKED_UP_EVERY:
            try:
                with self._store.read() as connection:
                    allowance = allowance_of(connection, name, self._clock.now())
            except AWAY:
                return 0.0  # nothing can be polled either
            rate = SHARE * max(0.0, allowance.pace) / READS_PER_POLL
            self._known[name] = (time.monotonic(), rate)
        return rate
