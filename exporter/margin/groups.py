"""What figures by customer and by product are made from: the labels that were chosen, and what is known of each.

One reading of the state beside the ledger's. Only the chosen customers' rows are read, and only where something has
changed: everything else is what remains of the totals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.pricing import EXACT
from exporter.margin.cash import Cash
from exporter.money import major
from exporter.revenue.categories import kind_of
from exporter.store.attribution import CashTotal, cash_by_customer, members
from exporter.store.database import get_cursor
from exporter.store.ledger import accounts, read_of
from exporter.store.usage import DAY, CustomerTotal, Revision, UsageKey, totals_of_customers

if TYPE_CHECKING:
    from exporter.margin.remembered import Part

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


class CashShares:
    """Ledger totals by label. A span that was added up once is remembered: most windows stay as they were."""

    def __init__(self, totals: Sequence[CashTotal]) -> None:
        """``totals`` in order of time."""
        self._totals = totals
        self._known: dict[tuple[int, int, str], tuple[Fx, Mapping[str, Money]]] = {}

    def of(self, start: int, end: int, fx: Fx, zone: ZoneInfo) -> Mapping[str, Money]:
        """Money by label of the totals with ``start ≤ bucket < end``; what has no rate on its day is left out."""
        low = bisect_left(self._totals, start, key=_bucket)
        high = bisect_left(self._totals, end, key=_bucket)
        span = (low, high, zone.key)
        known = self._known.get(span)
        if known is None or known[0] is not fx:
            if len(self._known) >= FOLDS:
                self._known.clear()
            known = self._known[span] = (fx, _join(self._totals[low:high], fx, zone))
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
    whose it is, else None.
    """

    labels: Sequence[str]
    rest: str
    cash: CashShares
    usage: Mapping[int, Shares]
    own: Callable[[UsageKey], str | None]
    days: Days


@dataclass(frozen=True)
class DayCost:
    """Cost of one segment by label, and by key and label, in major units of the reporting currency."""

    by_label: Mapping[str, Fraction]
    by_key: Mapping[int, Mapping[str, Fraction]]


Days = WeakKeyDictionary[Shares, tuple[tuple[object, ...], DayCost]]
"""Costs that were shared out before, with what they were made of."""


class GroupMemory:
    """What a reading keeps for the next one. Not for several threads at once."""

    def __init__(self) -> None:
        self._cash: tuple[object, CashShares] | None = None
        self._usage: dict[int, tuple[object, Shares]] = {}
        self._days: Days = WeakKeyDictionary()

    def read(
        self, connection: Connection, revisions: Mapping[int, Revision], segments: Sequence[Part], start: int
    ) -> dict[str, Grouped]:
        """The dimensions that have been chosen for, with their money from ``start`` on and usage of ``segments``."""
        found: dict[str, Grouped] = {}
        if get_cursor(connection, CHOICE, CUSTOMER):
            labels = members(connection, CUSTOMER)
            found[CUSTOMER] = Grouped(
                labels,
                OTHER,
                self._customer_cash(connection, labels, start),
                self._customer_usage(connection, revisions, segments, labels),
                lambda _key: None,
                self._days,
            )
        return found

    def _customer_cash(self, connection: Connection, labels: Sequence[str], start: int) -> CashShares:
        """Rows only ever come, and find their customer: their numbers tell whether anything is new."""
        now = (start, labels, read_of(connection))
        if self._cash is None or self._cash[0] != now:
            totals = cash_by_customer(connection, accounts(connection), labels, start)
            named = [total if total.label else total._replace(label=UNATTRIBUTED) for total in totals]
            self._cash = (now, CashShares(named))
        return self._cash[1]

    def _customer_usage(
        self, connection: Connection, revisions: Mapping[int, Revision], segments: Sequence[Part], labels: Sequence[str]
    ) -> dict[int, Shares]:
        stamps = {part.start: (revisions.get(part.start // DAY * DAY), labels) for part in segments}
        kept = {start: known for start, known in self._usage.items() if stamps.get(start) == known[0]}
        fresh = [start for start in stamps if start not in kept]
        totals: dict[int, list[CustomerTotal]] = {start: [] for start in fresh}
        for total in totals_of_customers(connection, fresh, ("", *labels)):
            totals[total.start].append(total if total.customer_id else total._replace(customer_id=UNATTRIBUTED))
        for start in fresh:
            kept[start] = (stamps[start], Shares(start, tuple(totals[start])))
        self._usage = kept
        return {start: shares for start, (_, shares) in kept.items()}
