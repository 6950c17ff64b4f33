"""Stripe's read allowance: how much of it was used, and how often it lets an account be polled.

500 reads per transaction over 30 days, 10,000 at least: https://docs.stripe.com/rate-limits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection

from exporter.clock import bucket_of
from exporter.store.ledger import charges_since
from exporter.store.requests import accounts, reads_since, request_counts

SPAN = 30 * 86_400
FLOOR = 10_000
READS_PER_TRANSACTION = 500

FLOOR_INTERVAL = 900
"""Seconds between polls that an account at the floor can afford: about 6,500 of its 10,000 reads."""
FASTEST_INTERVAL = 30


class Allowance(NamedTuple):
    """Reads and transactions of the last 30 days."""

    reads: int
    transactions: int

    @property
    def allowed(self) -> int:
        """Reads that Stripe allows in 30 days."""
        return max(FLOOR, READS_PER_TRANSACTION * self.transactions)

    @property
    def used_ratio(self) -> Fraction:
        """Reads ÷ reads allowed."""
        return Fraction(self.reads, self.allowed)

    def interval(self, configured: float) -> float:
        """Seconds between polls: as configured, but not faster than the allowance carries.

        900 s at the floor; down to 30 s as the account grows.
        """
        return max(configured, FASTEST_INTERVAL, FLOOR_INTERVAL * FLOOR / self.allowed)


def allowance_of(connection: Connection, account: str, at: float) -> Allowance:
    """The account's reads and charges in the 30 days before ``at`` (epoch seconds)."""
    start = int(at) - SPAN
    return Allowance(
        reads_since(connection, account, start - start % 3600), charges_since(connection, account, bucket_of(start))
    )


def read_allowance(connection: Connection, at: float) -> dict[str, Allowance]:
    """``{account: allowance}`` of every account that was ever asked."""
    return {account: allowance_of(connection, account, at) for account in accounts(connection)}


__all__ = ["Allowance", "allowance_of", "read_allowance", "request_counts"]
