"""The price of usage: pure, exact and total. Whatever it is given, it answers Priced, Unpriced or Pending.

Linear prices only depend on sums, so the price of a sum of rows is the sum of their prices, to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final, Literal

from exporter.cost.pricebook import (
    OTHER,
    REQUESTS,
    Part,
    PriceBook,
    PricedEntry,
    PricedProvider,
    parts_for,
)
from exporter.cost.pricefile import BilledStatus, BillOn, Rate
from exporter.money import QUANTITY_SCALE
from exporter.store.usage import UsageKey
from exporter.usagelog import Status

UnpricedReason = Literal[
    "unknown_provider",  # no provider or alias of the book has this name
    "no_match",  # no entry of the provider matches model and operation
    "no_version",  # the entry that fits has no price in force at that time
    "missing_quantity",  # entries match, but the row lacks a quantity or attribute they need
    "no_unit_price",  # the provider unit has no price in force at that time
    "unknown_billing",  # failed, moderated or canceled, and no bill_on says whether that is billed
    "unknown_status",  # the status is a word that nobody mapped
    "bad_row",  # a value is no number, negative, not finite or absurd
]
"""Closed set: the ``reason`` label of ``margin_unpriced_requests``."""

EXACT: Final = Context(prec=100_000, rounding=ROUND_HALF_EVEN)
"""Wide enough that sums and products of prices never round (Decimal's own 28 digits would)."""

RATE: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""A rate that does not end in decimals ($0.22 per 3600 s) is kept to 60 digits."""

SCALE: Final = Decimal(1).scaleb(-QUANTITY_SCALE)
WHOLE: Final = Decimal(1)


@dataclass(frozen=True)
class Priced:
    """Cost in major units by currency, in the order of the codes; empty when nothing of it is billed."""

    amounts: tuple[tuple[str, Decimal], ...]
    entry: str
    fraction: Decimal


@dataclass(frozen=True)
class Unpriced:
    """Usage without a price: never zero, counted and shown with its reason."""

    reason: UnpricedReason


@dataclass(frozen=True)
class Pending:
    """Usage that is still open: not billable yet."""


Term = tuple[str, str, Decimal]
"""A quantity, a currency, and the money for one of that quantity with the billed fraction in it."""


def price(
    book: PriceBook, key: UsageKey, status: Status, requests: int, measures: Mapping[str, int], start: int
) -> Priced | Unpriced | Pending:
    """The price of ``requests`` rows of one kind, all at or after ``start`` and before the book's next boundary.

    ``status`` is the canonical one. ``measures`` are the sums by quantity × 10⁶. Never raises.
    """
    terms = terms_at(book, key, status, start)
    if not isinstance(terms, Terms):
        return terms
    amounts: dict[str, Decimal] = {}
    with localcontext(EXACT):
        for quantity, currency, rate in terms.terms:
            counted = Decimal(requests) if quantity == REQUESTS else Decimal(measures.get(quantity, -1)) * SCALE
            if counted < 0:
                return Unpriced("bad_row")
            amounts[currency] = amounts.get(currency, Decimal(0)) + counted * rate
    return Priced(tuple(sorted(amounts.items())), terms.entry, terms.fraction)


@dataclass(frozen=True)
class Terms:
    """How a kind of usage is priced in one period: the sum of ``terms``."""

    terms: tuple[Term, ...]
    entry: str
    fraction: Decimal


def terms_at(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | Unpriced | Pending:
    """How usage of this kind is priced at ``at``. The first reason that stands in the way is the answer."""
    return _terms(book, key, status, book.period(at))


@lru_cache(maxsize=1 << 16)  # figures ask for the same kinds of usage again and again, a day at a time
def _terms(book: PriceBook, key: UsageKey, status: Status, at: int) -> Terms | Unpriced | Pending:
    if status == "pending":
        return Pending()
    provider = book.provider_of(key)
    if provider is None:
        return Unpriced("unknown_provider")
    if key.bad:
        return Unpriced("bad_row")
    if status == "unknown":
        return Unpriced("unknown_status")
    entry = provider.entry_for(key)
    fraction = _fraction(status, entry.bill_on if entry else {}, provider.bill_on, book.default_bill_on)
    if fraction is None:
        return Unpriced("unknown_billing")
    if fraction == 0:  # nothing is billed, whatever the price would be
        return Terms((), entry.id if entry else OTHER, fraction)
    return _entry_terms(provider, entry, key, fraction, at) if entry else Unpriced("no_match")


def _entry_terms(
    provider: PricedProvider, entry: PricedEntry, key: UsageKey, fraction: Decimal, at: int
) -> Terms | Unpriced:
    if not entry.claims(key):
        return Unpriced("missing_quantity")
    version = entry.version_at(at)
    if version is None:
        return Unpriced("no_version")
    parts = parts_for(version, key)
    if parts is None:
        return Unpriced("missing_quantity")
    terms = []
    for part in parts:
        term = _term(provider, part, fraction, at)
        if term is None:
            return Unpriced("no_unit_price")
        terms.append(term)
    return Terms(tuple(terms), entry.id, fraction)


def _term(provider: PricedProvider, part: Part, fraction: Decimal, at: int) -> Term | None:
    rate = part.rate
    if rate.currency is not None:
        return part.quantity, rate.currency, EXACT.multiply(_per_one(rate), fraction)
    assert rate.unit is not None  # one of the two is given: the file is checked
    unit = provider.unit_price_at(rate.unit, at)
    if unit is None:
        return None
    return part.quantity, unit.currency, EXACT.multiply(EXACT.multiply(_per_one(rate), unit.price), fraction)


def _per_one(rate: Rate) -> Decimal:
    return rate.price if rate.per_units == 1 else RATE.divide(rate.price, rate.per_units)


def _fraction(status: BilledStatus, *told: BillOn) -> Decimal | None:
    """The billed part of the price: the nearest that says it. A success is billed whole unless something says not."""
    for bill_on in told:
        if status in bill_on:
            return bill_on[status].fraction
    return WHOLE if status == "succeeded" else None
