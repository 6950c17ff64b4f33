"""Reads what is known by customer and by product beside the ledger, and keeps it for the next reading.

Of customers only those are read that have series of their own, each by key. Products are read by days of the ledger,
each when something in it changed: a row came, or an invoice that names its payment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from exporter.clock import DAY
from exporter.margin.groups import (
    CHOICE,
    CUSTOMER,
    OTHER,
    PRODUCT,
    UNATTRIBUTED,
    CashShares,
    Days,
    Grouped,
    Shares,
)
from exporter.margin.products import cash_by_product
from exporter.store.attribution import CashTotal, cash_by_customer, members
from exporter.store.cursors import get_cursor
from exporter.store.ledger import read_of
from exporter.store.paid import invoice_products, linked_rows, usage_by_only_product
from exporter.store.recognition import DayKey
from exporter.store.recognition import revisions as charge_days
from exporter.store.settlement import payments_by
from exporter.store.usage import CustomerTotal, Revision, UsageKey, totals_of_customers

if TYPE_CHECKING:
    from exporter.margin.parts import Part

Usage = dict[int, tuple[object, Shares]]
"""Shares of the segments by their start, with what they were read for."""


class _Read(Protocol):
    def __call__(self, starts: Sequence[int], /) -> Iterable[CustomerTotal]: ...


class GroupMemory:
    """What a reading keeps for the next one. Not for several threads at once."""

    def __init__(self) -> None:
        self._customer_cash: tuple[object, CashShares] | None = None
        self._product_cash: tuple[object, CashShares] | None = None
        self._product_days: dict[DayKey, tuple[int, list[CashTotal]]] = {}
        self._usage: dict[str, Usage] = {CUSTOMER: {}, PRODUCT: {}}
        self._days: Days = WeakKeyDictionary()
        self._requests: Days = WeakKeyDictionary()

    def read(
        self,
        connection: Connection,
        accounts: Sequence[str],
        revisions: Mapping[int, Revision],
        segments: Sequence[Part],
        keys: Mapping[int, UsageKey],
        start: int,
    ) -> dict[str, Grouped]:
        """The dimensions that have been chosen for, with their money of ``accounts`` from ``start`` on and usage of
        ``segments``."""
        found: dict[str, Grouped] = {}
        revised = {part.start: revisions.get(part.start // DAY * DAY) for part in segments}
        if get_cursor(connection, CHOICE, CUSTOMER):
            found[CUSTOMER] = self._customers(connection, accounts, revised, start)
        if reason := get_cursor(connection, CHOICE, PRODUCT):
            found[PRODUCT] = self._products(connection, accounts, revised, keys, start, reason)
        return found

    def _customers(
        self, connection: Connection, accounts: Sequence[str], revised: Mapping[int, Revision | None], start: int
    ) -> Grouped:
        labels = members(connection, CUSTOMER)

        def read(starts: Sequence[int]) -> Iterable[CustomerTotal]:
            for total in totals_of_customers(connection, starts, ("", *labels)):
                yield total if total.customer_id else total._replace(customer_id=UNATTRIBUTED)

        stamps = {at: (revision, labels) for at, revision in revised.items()}
        return Grouped(
            labels,
            OTHER,
            self._cash_of(connection, accounts, labels, start),
            self._shares(CUSTOMER, stamps, read),
            lambda _key: None,
            self._days,
            requests=self._requests,
        )

    def _products(
        self,
        connection: Connection,
        accounts: Sequence[str],
        revised: Mapping[int, Revision | None],
        keys: Mapping[int, UsageKey],
        start: int,
        reason: str,
    ) -> Grouped:
        """``reason``: what the choice was made for; with another one customers may have other products."""
        labels = members(connection, PRODUCT)
        known = frozenset(labels)
        silent = [key_id for key_id, key in keys.items() if not key.product]
        sources = sorted({keys[key_id].source for key_id in silent})

        def label(product: str) -> str:
            return product if product in known else OTHER

        def read(starts: Sequence[int]) -> Iterable[CustomerTotal]:
            for total in usage_by_only_product(connection, sources, starts, silent):
                yield total._replace(customer_id=label(total.customer_id))

        stamps = {at: (revision, labels, reason) for at, revision in revised.items()}
        return Grouped(
            labels,
            UNATTRIBUTED,
            self._cash_by_product(connection, accounts, known, start),
            self._shares(PRODUCT, stamps, read),
            lambda key: label(key.product) if key.product else None,
            self._days,
            linked=True,
            requests=self._requests,
        )

    def _cash_of(
        self, connection: Connection, accounts: Sequence[str], labels: Sequence[str], start: int
    ) -> CashShares:
        """Rows only ever come, and find their customer: their numbers tell whether anything is new."""
        now = (start, tuple(accounts), labels, read_of(connection))
        if self._customer_cash is None or self._customer_cash[0] != now:
            totals = cash_by_customer(connection, accounts, labels, start)
            named = [total if total.label else total._replace(label=UNATTRIBUTED) for total in totals]
            self._customer_cash = (now, CashShares(named))
        return self._customer_cash[1]

    def _cash_by_product(
        self, connection: Connection, accounts: Sequence[str], known: Collection[str], start: int
    ) -> CashShares:
        wanted = charge_days(connection, accounts, "charges", start)
        kept = {
            key: self._product_days[key] for key in wanted if self._product_days.get(key, (None,))[0] == wanted[key]
        }
        for key in wanted:
            if key not in kept:
                kept[key] = (wanted[key], product_totals(connection, key.account, key.day, key.day + DAY))
        self._product_days = kept
        now = (start, tuple(sorted(known)), wanted)
        if self._product_cash is None or self._product_cash[0] != now:
            totals = [
                total if total.label in known else total._replace(label=OTHER)
                for _, day in kept.values()
                for total in day
                if total.bucket >= start
            ]
            self._product_cash = (now, CashShares(sorted(totals, key=lambda total: total.bucket)))
        return self._product_cash[1]

    def _shares(self, dimension: str, stamps: Mapping[int, object], read: _Read) -> dict[int, Shares]:
        former = self._usage[dimension]
        kept = {start: known for start, known in former.items() if stamps.get(start) == known[0]}
        fresh = [start for start in stamps if start not in kept]
        totals: dict[int, list[CustomerTotal]] = {start: [] for start in fresh}
        for total in read(fresh):
            totals[total.start].append(total)
        for start in fresh:
            kept[start] = (stamps[start], Shares(start, tuple(totals[start])))
        self._usage[dimension] = kept
        return {start: shares for start, (_, shares) in kept.items()}


def product_totals(connection: Connection, account: str, low: int, high: int) -> list[CashTotal]:
    """The ledger's rows created in ``[low, high)`` by product, as far as their payments settled invoices."""
    rows = linked_rows(connection, account, low, high)
    paid = payments_by(
        connection,
        account,
        intents={row.payment_intent_id for row in rows if row.payment_intent_id},
        charges={row.charge_id for row in rows if row.charge_id},
    )
    lines = invoice_products(connection, account, {payment.invoice_id for payment in paid})
    return cash_by_product(account, rows, paid, lines)
