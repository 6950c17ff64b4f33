"""Which customers and products get series of their own: chosen once per business day, the same for all windows.

Labels are bounded by ``customers.cap`` and ``products.cap``. Three rankings over the window ``30d`` take turns until
the cap is reached: most revenue, most cost, least profit. The choice is stored, so that every replica and every restart
shows the same series all day; it is made again when the business day, the cap, the time zone or the currency changes,
and when a source has been read whole for the first time.
"""

from __future__ import annotations

import itertools
import json
import logging
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from sqlalchemy import Connection

from exporter.clock import DAY, day_of, day_start
from exporter.config import Settings
from exporter.cost.pricing import EXACT, Priced
from exporter.margin.cash import Cash
from exporter.margin.grouping import product_totals
from exporter.margin.groups import CHOICE, CUSTOMER, OTHER, PRODUCT, UNATTRIBUTED, Money
from exporter.margin.ledger import Sources
from exporter.margin.usage import Pricing
from exporter.margin.windows import window
from exporter.revenue.categories import kind_of
from exporter.store import sources
from exporter.store.attribution import Sale, members, sales_by_customer, save_members
from exporter.store.cursors import get_cursor, set_cursor
from exporter.store.database import Store
from exporter.store.paid import save_only_products, usage_by_only_product
from exporter.store.usage import CustomerTotal, UsageKey, UsageTotal, segment_totals, sums_by_customer, usage_keys

log = logging.getLogger("exporter.margin")

RESERVED = frozenset({"", OTHER, UNATTRIBUTED})


@dataclass
class Merit:
    """What a label brought and cost in the window, in the reporting currency at the day's rates."""

    revenue: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)

    @property
    def profit(self) -> Decimal:
        return self.revenue - self.fees - self.cost


def pick(merits: Mapping[str, Merit], cap: int) -> tuple[str, ...]:
    """At most ``cap`` labels: most revenue, most cost, least profit in turns; equals in the order of their names.

    A label that is reserved, or that looks like an e-mail address, is never picked: it counts in ``other``.
    """
    labels = sorted(label for label in merits if label not in RESERVED and "@" not in label)
    rankings = (
        sorted((label for label in labels if merits[label].revenue > 0), key=lambda label: -merits[label].revenue),
        sorted((label for label in labels if merits[label].cost > 0), key=lambda label: -merits[label].cost),
        sorted(labels, key=lambda label: merits[label].profit),
    )
    picked: dict[str, None] = {}
    turns = [iter(ranking) for ranking in rankings]
    while turns and len(picked) < cap:
        for turn in list(turns):
            label = next((label for label in turn if label not in picked), None)
            if label is None:
                turns.remove(turn)
            elif len(picked) < cap:
                picked[label] = None
    return tuple(picked)


class Choice:
    """Makes the choice when it is due. Only the writer does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def make(self, settings: Settings, pricing: Pricing, at: int) -> bool:
        """Choose if it is due; whether any labels changed."""
        sources_of = Sources.of(settings)
        money = (*sources_of.ledger, *sources_of.usage)
        linked = (*money, *sources_of.invoices, *sources_of.subscriptions)
        customers = self._choose(CUSTOMER, settings.customers.cap, money, settings, pricing, at)
        products = self._choose(PRODUCT, settings.products.cap, linked, settings, pricing, at)
        return customers or products

    def _choose(
        self, dimension: str, cap: int, needed: Sequence[str], settings: Settings, pricing: Pricing, at: int
    ) -> bool:
        with self._store.read() as connection:
            reason = _reason(connection, cap, needed, settings, at)
            if (get_cursor(connection, CHOICE, dimension) or "") == reason:
                return False
        if dimension == PRODUCT and reason:
            with self._store.write() as connection:
                save_only_products(connection)
        labels: tuple[str, ...] = ()
        with self._store.read() as connection:
            if reason:
                merits = customer_merits if dimension == CUSTOMER else product_merits
                labels = pick(merits(connection, settings, pricing, at), cap)
            same = labels == members(connection, dimension)
        with self._store.write() as connection:
            save_members(connection, dimension, labels)
            set_cursor(connection, CHOICE, dimension, reason)
        if not same:
            log.info("%ss with series of their own are chosen count=%d", dimension, len(labels))
        return not same


def _reason(connection: Connection, cap: int, needed: Sequence[str], settings: Settings, at: int) -> str:
    """What the choice is made for: as long as it is the same, the choice stands. Empty: there is none to make."""
    status = sources.statuses(connection)
    read = [name for name in needed if name in status and status[name].complete_at is not None]
    if not cap or not read:
        return ""
    day = day_of(at, settings.zone).isoformat()
    return json.dumps([day, cap, settings.business_time_zone, settings.reporting_currency, read])


def customer_merits(connection: Connection, settings: Settings, pricing: Pricing, at: int) -> dict[str, Merit]:
    """What every customer brought and cost in ``30d``, in whole business days of usage."""
    span = window("30d", at, settings.zone)
    merits: dict[str, Merit] = {}
    with localcontext(EXACT):
        accounts = Sources.of(settings).accounts
        _add_sales(merits, sales_by_customer(connection, accounts, span.start, span.end), settings, at)
        keys = usage_keys(connection)
        start = day_start(day_of(span.start, settings.zone), settings.zone)
        edges = pricing.book.boundaries()
        inside = edges[bisect_right(edges, start) : bisect_right(edges, span.end)]
        for low, high in itertools.pairwise((start, *inside, span.end)):
            _add_usage(merits, sums_by_customer(connection, low, high), keys, settings, pricing, at)
    return merits


def product_merits(connection: Connection, settings: Settings, pricing: Pricing, at: int) -> dict[str, Merit]:
    """What every product brought and cost in ``30d``, in whole business days of usage."""
    span = window("30d", at, settings.zone)
    merits: dict[str, Merit] = {}
    with localcontext(EXACT):
        for account in Sources.of(settings).accounts:
            for low in range(span.start, span.end, DAY):
                totals = product_totals(connection, account, low, min(low + DAY, span.end))
                sales = [Sale(t.label, t.currency, t.category, t.rows, t.amount, t.fee) for t in totals]
                _add_sales(merits, sales, settings, at)
        keys = usage_keys(connection)
        start = day_start(day_of(span.start, settings.zone), settings.zone)
        segments = segment_totals(connection, start, span.end)
        own = (CustomerTotal(t[0], t[1], keys[t.key_id].product, *t[2:]) for t in segments if keys[t.key_id].product)
        _add_usage(merits, own, keys, settings, pricing, at)
        silent = [key_id for key_id, key in keys.items() if not key.product]
        logs = sorted({keys[key_id].source for key_id in silent})
        starts = sorted({total.start for total in segments})
        _add_usage(merits, usage_by_only_product(connection, logs, starts, silent), keys, settings, pricing, at)
    return merits


def _add_sales(merits: dict[str, Merit], sales: Iterable[Sale], settings: Settings, at: int) -> None:
    today = day_of(at, settings.zone)
    for sale in sales:
        rate = settings.fx.rate(sale.currency, today)
        if rate is None:
            continue
        cash = Cash()
        cash.add(kind_of(sale.category), sale)
        money = Money().plus(cash, sale.currency, rate)
        merit = merits.setdefault(sale.customer_id, Merit())
        merit.revenue += money.net_sales
        merit.fees += money.fees


def _add_usage(
    merits: dict[str, Merit],
    totals: Iterable[CustomerTotal],
    keys: Mapping[int, UsageKey],
    settings: Settings,
    pricing: Pricing,
    at: int,
) -> None:
    today = day_of(at, settings.zone)
    for source, start, customer, key_id, requests, measures in totals:
        outcome = pricing(keys[key_id], UsageTotal(source, start, key_id, requests, measures))
        if isinstance(outcome, Priced):
            merit = merits.setdefault(customer, Merit())
            for currency, amount in outcome.amounts:
                merit.cost += amount * (settings.fx.rate(currency, today) or 0)
