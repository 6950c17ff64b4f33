"""The cash ledger of the past in running sums: the cash of any span is the difference of two of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import localcontext
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.pricing import EXACT
from exporter.margin.cash import Cash, CashKey, Sums
from exporter.margin.groups import Money
from exporter.revenue.categories import kind_of
from exporter.store.attribution import CashTotal
from exporter.store.ledger import LedgerTotal

K = TypeVar("K")


def day_of_rate(fx: Fx, currency: str, day: date) -> date:
    """The first day of the rate that is in force on ``day``: all days of one rate may be added up before they are
    converted."""
    entry = fx.entry(currency, day)
    return date.min if entry is None else entry.from_


class _Days:
    """The day of the rate of each bucket, worked out once."""

    def __init__(self, fx: Fx, zone: ZoneInfo) -> None:
        self._fx, self._zone = fx, zone
        self._known: dict[tuple[str, int], date] = {}

    def of(self, currency: str, bucket: int) -> date:
        found = self._known.get((currency, bucket))
        if found is None:
            day = day_of(bucket, self._zone)
            found = self._known[currency, bucket] = day_of_rate(self._fx, currency, day)
        return found


class _Running(Generic[K]):
    """By key: the buckets that have rows, and the sum of all before each of them."""

    def __init__(self) -> None:
        self._buckets: dict[K, list[int]] = {}
        self._sums: dict[K, list[tuple[int, ...]]] = {}
        self._last: dict[K, Cash] = {}

    def add(self, key: K, bucket: int, category: str, total: Sums) -> None:
        """Totals come in order of time."""
        cash = self._last.get(key)
        if cash is None:
            cash = self._last[key] = Cash()
            self._buckets[key], self._sums[key] = [], [_tuple(cash)]
        cash.add(kind_of(category), total)
        buckets, sums = self._buckets[key], self._sums[key]
        if buckets and buckets[-1] == bucket:
            sums[-1] = _tuple(cash)
        else:
            buckets.append(bucket)
            sums.append(_tuple(cash))

    def between(self, start: int, end: int) -> Iterator[tuple[K, Cash]]:
        """Of the keys that have rows with ``start ≤ bucket < end``."""
        for key, buckets in self._buckets.items():
            low, high = bisect_left(buckets, start), bisect_left(buckets, end)
            if low < high:
                sums = self._sums[key]
                yield key, Cash(*(later - former for former, later in zip(sums[low], sums[high], strict=True)))


def _tuple(cash: Cash) -> tuple[int, ...]:
    return tuple(vars(cash).values())


class PastCash:
    """Answers as ``Cashbook`` does, with the days of one exchange rate under the first of them."""

    def __init__(self, totals: Iterable[LedgerTotal], fx: Fx, zone: ZoneInfo) -> None:
        """``totals`` in order of time."""
        self._running = _Running[CashKey]()
        days = _Days(fx, zone)
        for total in totals:
            key = CashKey(total.account, total.currency, days.of(total.currency, total.bucket))
            self._running.add(key, total.bucket, total.category, total)

    def fold(self, start: int, end: int, _zone: ZoneInfo) -> Mapping[CashKey, Cash]:
        """Cash of the totals with ``start ≤ bucket < end``."""
        return dict(self._running.between(start, end))


class PastShares:
    """Answers as ``CashShares`` does."""

    def __init__(self, totals: Iterable[CashTotal], fx: Fx, zone: ZoneInfo) -> None:
        """``totals`` in order of time."""
        self._running = _Running[tuple[str, str, date]]()
        days = _Days(fx, zone)
        for total in totals:
            key = (total.label, total.currency, days.of(total.currency, total.bucket))
            self._running.add(key, total.bucket, total.category, total)

    def of(self, start: int, end: int, fx: Fx, _zone: ZoneInfo) -> Mapping[str, Money]:
        """Money by label of the totals with ``start ≤ bucket < end``; what has no rate on its day is left out."""
        joined: dict[str, Money] = {}
        with localcontext(EXACT):
            for (label, currency, day), cash in self._running.between(start, end):
                rate = fx.rate(currency, day)
                if rate is not None:
                    joined[label] = joined.get(label, Money()).plus(cash, currency, rate)
        return joined
