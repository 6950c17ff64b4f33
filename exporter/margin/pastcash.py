"""The cash ledger of the past in running sums: the cash of any span is the difference of two of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import date
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.fx import Fx
from exporter.margin.cash import Cash, CashKey
from exporter.revenue.categories import kind_of
from exporter.store.ledger import LedgerTotal


def day_of_rate(fx: Fx, currency: str, day: date) -> date:
    """The first day of the rate that is in force on ``day``: all days of one rate may be added up before they are
    converted."""
    entry = fx.entry(currency, day)
    return date.min if entry is None else entry.from_


class PastCash:
    """Answers as ``Cashbook`` does, with the days of one exchange rate under the first of them."""

    def __init__(self, totals: Iterable[LedgerTotal], fx: Fx, zone: ZoneInfo) -> None:
        """``totals`` in order of time."""
        self._zone = zone
        self._buckets: dict[CashKey, list[int]] = {}
        self._sums: dict[CashKey, list[tuple[int, ...]]] = {}
        running: dict[CashKey, Cash] = {}
        keys: dict[tuple[str, str, int], CashKey] = {}
        for total in totals:
            held = (total.account, total.currency, total.bucket)
            key = keys.get(held)
            if key is None:
                day = day_of_rate(fx, total.currency, day_of(total.bucket, zone))
                key = keys[held] = CashKey(total.account, total.currency, day)
            cash = running.get(key)
            if cash is None:
                cash = running[key] = Cash()
                self._buckets[key], self._sums[key] = [], [_tuple(cash)]
            cash.add(kind_of(total.category), total)
            buckets, sums = self._buckets[key], self._sums[key]
            if buckets and buckets[-1] == total.bucket:
                sums[-1] = _tuple(cash)
            else:
                buckets.append(total.bucket)
                sums.append(_tuple(cash))

    def fold(self, start: int, end: int, zone: ZoneInfo) -> Mapping[CashKey, Cash]:
        """Cash of the totals with ``start ≤ bucket < end``."""
        assert zone.key == self._zone.key
        found: dict[CashKey, Cash] = {}
        for key, buckets in self._buckets.items():
            low, high = bisect_left(buckets, start), bisect_left(buckets, end)
            if low < high:
                sums = self._sums[key]
                found[key] = Cash(*(later - former for former, later in zip(sums[low], sums[high], strict=True)))
        return found


def _tuple(cash: Cash) -> tuple[int, ...]:
    return tuple(vars(cash).values())
