"""Stripe's read allowance: how much of it was used, and how often it lets an account be polled.

500 reads per transaction over rolling 30 days, 10,000 at least; reports do not count:
https://docs.stripe.com/rate-limits.

The governor. A poll of ledger and events is two reads, and an hour has one of the balance. They may use 64.8 % of the
allowance, which at the floor is a poll every 15 minutes; the rest is for pages, changed objects, lists and history.
What history has taken is gone for 30 days. So the pace is also held below the one at which no hour of the next 30 days
would end above the allowance, given when each read of the last 30 days will no longer count, and what changed objects
take on a usual day. An hourly poll remains even when nothing is left: an exporter that stands still for weeks helps
nobody, and the used ratio shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from statistics import median
from typing import NamedTuple

from sqlalchemy import Connection

from exporter.clock import bucket_of
from exporter.store.ledger import charges_since
from exporter.store.requests import accounts, reads_by_hour, reads_since, request_counts

SPAN = 30 * 86_400
FLOOR = 10_000
READS_PER_TRANSACTION = 500

READS_PER_POLL = 2
"""The ledger and the events."""
BALANCE_PER_SECOND = 1 / 3600
STEADY_SHARE = 0.648
"""Part of the allowance that steady polling may use: every 15 minutes at the floor, 6,480 of 10,000."""
CAUTION = 0.9
"""Part of the pace that the last 30 days leave room for which is used for polling."""

STEADY = ("/v1/balance_transactions", "/v1/events", "/v1/balance")
"""What polls ask for; the rest is asked for as things change."""
DAYS = 7
"""Days of which the median tells what changes take."""

FASTEST_INTERVAL = 30
SLOWEST_INTERVAL = 3600
"""What remains when history has used the allowance up."""


class Allowance(NamedTuple):
    """Reads and transactions of the last 30 days.

    ``ending`` says when the reads cease to count: (seconds from now, reads). ``daily``: what changed objects take.
    """

    reads: int
    transactions: int
    ending: tuple[tuple[int, int], ...] = ()
    daily: int = 0

    @property
    def allowed(self) -> int:
        """Reads that Stripe allows in 30 days."""
        return max(FLOOR, READS_PER_TRANSACTION * self.transactions)

    @property
    def used_ratio(self) -> Fraction:
        """Reads ÷ reads allowed."""
        return Fraction(self.reads, self.allowed)

    @property
    def left(self) -> int:
        """Reads that may still be made now; negative when there were too many."""
        return self.allowed - self.reads

    @property
    def pace(self) -> float:
        """Reads per second that never exceed the allowance in the next 30 days."""
        slowest, left = self.allowed / SPAN, self.left
        for seconds, reads in sorted(self.ending):
            slowest = min(slowest, left / max(1, seconds))
            left += reads
        return slowest

    def interval(self, configured: float | None) -> float:
        """Seconds between polls: as configured, but not faster than the allowance carries; None: as fast as it does.

        900 s at the floor; down to 30 s as the account grows; an hour when history has used up the allowance.
        """
        room = CAUTION * self.pace - self.daily / 86_400
        steady = min(STEADY_SHARE * self.allowed / SPAN, room) - BALANCE_PER_SECOND
        carried = READS_PER_POLL / steady if steady > 0 else SLOWEST_INTERVAL
        step = 30 if carried > 300 else 5  # small changes are no news
        kept = min(max(ceil(carried / step - 1e-9) * step, FASTEST_INTERVAL), SLOWEST_INTERVAL)
        return float(max(configured or 0, kept))


def allowance_of(connection: Connection, account: str, at: float) -> Allowance:
    """The account's reads and charges in the 30 days before ``at`` (epoch seconds)."""
    start, now = int(at) - SPAN, int(at)
    hours = reads_by_hour(connection, account, start - start % 3600, STEADY)
    ending = tuple((hour + 3600 + SPAN - now, reads) for hour, reads, _ in hours)
    days = [0] * DAYS
    for hour, _, others in hours:
        age = (now - hour) // 86_400
        if 0 <= age < DAYS:
            days[age] += others
    reads = sum(reads for _, reads, _ in hours)
    # The median: a day on which history or a whole list was read says nothing of the days to come.
    return Allowance(reads, charges_since(connection, account, bucket_of(start)), ending, int(median(days)))


def read_allowance(connection: Connection, at: float) -> Mapping[str, Allowance]:
    """``{account: reads and transactions}`` of every account that was ever asked."""
    start = int(at) - SPAN
    since = start - start % 3600
    return {
        account: Allowance(
            reads_since(connection, account, since), charges_since(connection, account, bucket_of(start))
        )
        for account in accounts(connection)
    }


__all__ = ["Allowance", "allowance_of", "read_allowance", "request_counts"]
