"""What figures by customer and by product are made from: the labels that were chosen, and what is known of each.

Plain data, read by ``grouping``. Of each dimension one label is not known by itself: it is what remains of the totals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.pricing import EXACT
from exporter.margin.cash import Cash
from exporter.money import major
from exporter.revenue.categories import kind_of
from exporter.store.attribution import CashTotal
from exporter.store.usage import CustomerTotal, UsageKey

CUSTOMER: Final = "customer"
PRODUCT: Final = "product"
CHOICE: Final = "attribution"
"""Under this name the state keeps what each dimension's labels were chosen for."""
OTHER: Final = "other"
"""All labels that have no series of their own."""
UNATTRIBUTED: Final = "unattributed"
"""Money and usage of which nobody knows whose it is."""
FOLDS: Final = 64


class Money(NamedTuple):
    """Net sales and fees of one label, in major units of the reporting currency."""

    net_sales: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)

    def plus(self, cash: Cash, currency: str, rate: Decimal) -> Money:
        """With ``cash`` of ``currency`` added at ``rate``."""
        return Money(
            self.net_sales + major(cash.net_sales, currency) * rate, self.fees + major(cash.fees, currency) * rate
        )


class CashByLabel(Protocol):
    """Money by label: ``CashShares``, or the running sums of ``PastShares``."""

    def of(self, start: int, end: int, fx: Fx, zone: ZoneInfo, /) -> Mapping[str, Money]: ...


class CashShares:
    """Ledger totals by label. A span that was added up once is remembered: most windows stay as they were."""

    def __init__(self, totals: Sequence[CashTotal]) -> None:
        """``totals`` in order of time."""
        self.totals = totals
        self._known: dict[tuple[int, int, str], tuple[Fx, Mapping[str, Money]]] = {}

    def of(self, start: int, end: int, fx: Fx, zone: ZoneInfo) -> Mapping[str, Money]:
        """Money by label of the totals with ``start ≤ bucket < end``; what has no rate on its day is left out."""
        low = bisect_left(self.totals, start, key=_bucket)
        high = bisect_left(self.totals, end, key=_bucket)
        span = (low, high, zone.key)
        known = self._known.get(span)
        if known is None or known[0] is not fx:
            if len(self._known) >= FOLDS:
                self._known.clear()
            known = self._known[span] = (fx, _join(self.totals[low:high], fx, zone))
        return known[1]


def _bucket(total: CashTotal) -> int:
    return total.bucket


def _join(totals: Iterable[CashTotal], fx: Fx, zone: ZoneInfo) -> Mapping[str, Money]:
    days: dict[int, date] = {}
    folded: dict[tuple[str, str, date], Cash] = {}
    for total in totals:
        day = days.get(total.bucket)
        if day is None:
            day = days[total.bucket] = day_of(total.bucket, zone)
        key = (total.label, total.currency, day)
        cash = folded.get(key)
        if cash is None:
            cash = folded[key] = Cash()
        cash.add(kind_of(total.category), total)
    joined: dict[str, Money] = {}
    with localcontext(EXACT):
        for (label, currency, day), cash in folded.items():
            rate = fx.rate(currency, day)
            if rate is not None:
                joined[label] = joined.get(label, Money()).plus(cash, currency, rate)
    return joined


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Shares:
    """Usage of the labels of one segment, of the keys that do not tell themselves whose they are. Itself is its
    identity: what was made of it once stays true."""

    start: int
    totals: tuple[CustomerTotal, ...]


@dataclass(frozen=True)
class Grouped:
    """One dimension, ``customer`` or ``product``.

    ``labels`` have series of their own. ``cash`` and ``usage`` know these and one of ``other`` and ``unattributed``;
    ``rest`` is the one of the two that gets what remains. ``own`` is the label of a kind of usage that says itself
    whose it is, else None. ``linked``: money is known by invoices only. ``days`` and ``requests`` remember what was
    shared out.
    """

    labels: Sequence[str]
    rest: str
    cash: CashByLabel
    usage: Mapping[int, Shares]
    own: Callable[[UsageKey], str | None]
    days: Days
    linked: bool = False
    requests: Days = field(default_factory=WeakKeyDictionary)


class Split(NamedTuple):
    """What labels share in proportion to their ``weights``: of each, so much for one of weight."""

    each: Fraction
    weights: Mapping[str, Decimal]


@dataclass(frozen=True, eq=False)
class DayShares:
    """Cost of one segment (major units of the reporting currency) or its requests, by label, and by key and label.
    Itself is its identity."""

    by_label: Mapping[str, Fraction]
    by_key: Mapping[int, Split]


Days = WeakKeyDictionary[Shares, tuple[tuple[object, ...], DayShares]]
"""What was shared out before, with what it was made of."""
