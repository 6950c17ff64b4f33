"""The cash basis: ledger totals folded into the lines of Stripe's own balance report.

    gross volume = Σ amount {charge, partial_capture_reversal, charge_failure}
    refunds      = −Σ amount {refund, refund_failure}
    disputes     = −Σ amount {dispute, dispute_reversal}
    net sales    = gross volume − refunds − disputes (+ platform earnings − their refunds − net transfers on Connect)
    fees         = Σ fee of all rows but payouts − Σ amount {fee, network_cost, tax}

Source: https://docs.stripe.com/reports/balance and https://docs.stripe.com/reports/reporting-categories. A fee on a
payout (instant payouts) is outside Stripe's activity report, so it is a line of its own here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.revenue.categories import Kind, kind_of
from exporter.store.ledger import LedgerTotal

FOLDS = 64


class Sums(Protocol):
    """Rows of one category, summed in minor units."""

    @property
    def rows(self) -> int: ...
    @property
    def amount(self) -> int: ...
    @property
    def fee(self) -> int: ...


@dataclass
class Cash:
    """Sums in minor units of one settlement currency; refunds, disputes and fees are positive when they cost."""

    gross_volume: int = 0
    refunds: int = 0
    disputes: int = 0
    connect: int = 0
    fees: int = 0
    payout_fees: int = 0
    unknown_rows: int = 0

    @property
    def net_sales(self) -> int:
        """Revenue on the cash basis, before fees; collected tax is inside."""
        return self.gross_volume - self.refunds - self.disputes + self.connect

    def add(self, kind: Kind, total: Sums) -> None:
        """Book the rows of one reporting category."""
        if kind == "payout":
            self.payout_fees += total.fee
            return
        self.fees += total.fee
        if kind == "gross":
            self.gross_volume += total.amount
        elif kind == "refund":
            self.refunds -= total.amount
        elif kind == "dispute":
            self.disputes -= total.amount
        elif kind == "fee":
            self.fees -= total.amount
        elif kind == "connect":
            self.connect += total.amount
        elif kind == "unknown":
            self.unknown_rows += total.rows

    def merge(self, other: Cash) -> None:
        """Add another sum of the same currency."""
        self.gross_volume += other.gross_volume
        self.refunds += other.refunds
        self.disputes += other.disputes
        self.connect += other.connect
        self.fees += other.fees
        self.payout_fees += other.payout_fees
        self.unknown_rows += other.unknown_rows


@dataclass(frozen=True)
class CashKey:
    """What cash is kept apart by until a rate joins it."""

    account: str
    currency: str
    day: date


def fold_cash(totals: Iterable[LedgerTotal], zone: ZoneInfo) -> dict[CashKey, Cash]:
    """Ledger totals → cash by account, settlement currency and business day."""
    folded: dict[CashKey, Cash] = {}
    days: dict[int, date] = {}
    for total in totals:
        day = days.get(total.bucket)
        if day is None:
            day = days[total.bucket] = day_of(total.bucket, zone)
        key = CashKey(total.account, total.currency, day)
        cash = folded.get(key)
        if cash is None:
            cash = folded[key] = Cash()
        cash.add(kind_of(total.category), total)
    return folded


class Cashbook:
    """Ledger totals in order of time. A span that was folded once is remembered: most windows stay as they were."""

    def __init__(self, totals: Sequence[LedgerTotal]) -> None:
        self._totals = totals
        self._folded: dict[tuple[int, int, str], Mapping[CashKey, Cash]] = {}

    def fold(self, start: int, end: int, zone: ZoneInfo) -> Mapping[CashKey, Cash]:
        """Cash of the totals with ``start ≤ bucket < end``."""
        low = bisect_left(self._totals, start, key=_bucket)
        high = bisect_left(self._totals, end, key=_bucket)
        span = (low, high, zone.key)
        found = self._folded.get(span)
        if found is None:
            if len(self._folded) >= FOLDS:
                self._folded.clear()
            found = self._folded[span] = fold_cash(self._totals[low:high], zone)
        return found


def _bucket(total: LedgerTotal) -> int:
    return total.bucket
