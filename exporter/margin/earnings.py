"""Recognised revenue in money: a window of the book, converted, whole and by product. Pure.

A line converts at the rate of the business day on which its invoice was finalised, cuts included, so that what is
given back is worth what it was; a payment without an invoice at the rate of its own day, as on the cash basis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from weakref import WeakKeyDictionary

from exporter.config import Settings
from exporter.cost.pricing import EXACT
from exporter.fx import Fx
from exporter.margin.ledger import Ledger
from exporter.margin.recognition import SCALE, Cell
from exporter.margin.recognized import Earned
from exporter.money import exponent

PLACES = Decimal("1e-12")
"""Sums are rounded to this part of a major unit, at the very end."""


@dataclass(frozen=True)
class Earnings:
    """In major units of the reporting currency: ``total``, ``by_product`` (``""``: none is known), ``by_customer``
    (one with a label of its own, ``other``, ``""`` where none is known); each sums to the total. ``missing_fx``:
    currencies without a rate on a day that matters, whose part is left out. ``tax`` was collected: by (account,
    currency), in major units of that currency."""

    total: Decimal = Decimal(0)
    by_product: Mapping[str, Decimal] = field(default_factory=dict)
    by_customer: Mapping[str, Decimal] = field(default_factory=dict)
    missing_fx: frozenset[str] = frozenset()
    tax: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)


def amount_of(scaled: int, currency: str) -> Decimal:
    """10**-SCALE minor units → major units, exact."""
    return EXACT.scaleb(Decimal(scaled), -SCALE - exponent(currency))


def tidy(amount: Decimal) -> Decimal:
    """Rounded to ``PLACES``: a tenth of ten is one, not 0.99…"""
    return EXACT.quantize(amount, PLACES)


def earnings(cells: Mapping[Cell, int], fx: Fx) -> Earnings:
    """Revenue of a window's cells (``Book.between``) in the reporting currency, and the tax in them."""
    sums: dict[tuple[str, str, str, date | None], int] = {}
    for cell, amount in cells.items():
        if cell.kind == "revenue":
            key = (cell.product, cell.customer, cell.currency, cell.day)
            sums[key] = sums.get(key, 0) + amount
    missing: set[str] = set()
    total = Decimal(0)
    by_product: dict[str, Decimal] = {}
    by_customer: dict[str, Decimal] = {}
    for key in sorted(sums, key=lambda key: (*key[:3], key[3] or date.min)):
        product, customer, currency, day = key
        rate = Decimal(1) if day is None else fx.rate(currency, day)
        if rate is None:
            missing.add(currency)
            continue
        worth = EXACT.multiply(amount_of(sums[key], currency), rate)
        total = EXACT.add(total, worth)
        by_product[product] = EXACT.add(by_product.get(product, Decimal(0)), worth)
        by_customer[customer] = EXACT.add(by_customer.get(customer, Decimal(0)), worth)
    products = {product: tidy(amount) for product, amount in by_product.items()}
    customers = {customer: tidy(amount) for customer, amount in by_customer.items()}
    return Earnings(tidy(total), products, customers, frozenset(missing), by_account(cells, "tax"))


def recognized_by(ledger: Ledger, settings: Settings, start: int, end: int) -> Earnings | None:
    """Recognised revenue of ``start ≤ t < end``; None while it is not known which payments belong to invoices, or how
    much of the packs that earn on use has been used."""
    if ledger.recognized is None or not ledger.recognized.known:
        return None
    return spanned(ledger.recognized.book, settings.fx, start, end)


SPANS = 96
_KNOWN: WeakKeyDictionary[Earned, dict[tuple[int, int], tuple[Fx, Earnings]]] = WeakKeyDictionary()


def spanned(book: Earned, fx: Fx, start: int, end: int) -> Earnings:
    """Earnings of a span. A book never changes, so that they are remembered: figures ask for them, then customers and
    products, and the forecast asks for the same days each time."""
    spans = _KNOWN.setdefault(book, {})
    known = spans.get((start, end))
    if known is None or known[0] is not fx:
        if len(spans) >= SPANS:
            spans.clear()
        known = spans[start, end] = (fx, earnings(book.between(start, end), fx))
    return known[1]


def by_account(cells: Mapping[Cell, int], kind: str) -> dict[tuple[str, str], Decimal]:
    """``{(account, currency): major units of that currency}`` of the cells of one kind."""
    sums: dict[tuple[str, str], int] = {}
    for cell, amount in cells.items():
        if cell.kind == kind:
            held = (cell.account, cell.currency)
            sums[held] = sums.get(held, 0) + amount
    return {held: tidy(amount_of(sums[held], held[1])) for held in sorted(sums)}
