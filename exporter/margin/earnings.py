"""Recognised revenue in money: a window of the book, converted, whole and by product. Pure.

A line converts at the rate of the business day on which its invoice was finalised, cuts included, so that what is
given back is worth what it was; a payment without an invoice at the rate of its own day, as on the cash basis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from exporter.fx import Fx
from exporter.margin.recognition import SCALE, Book, Cell
from exporter.money import exponent


@dataclass(frozen=True)
class Earnings:
    """``total`` and ``by_product`` in major units of the reporting currency (product ``""``: none is known);
    ``missing_fx``: currencies without a rate on a day that matters, whose part is left out."""

    total: Decimal = Decimal(0)
    by_product: Mapping[str, Decimal] = field(default_factory=dict)
    missing_fx: frozenset[str] = frozenset()


def amount_of(scaled: int, currency: str) -> Decimal:
    """10**-SCALE minor units → major units, exact."""
    return Decimal(scaled).scaleb(-SCALE - exponent(currency))


def earnings(cells: Mapping[Cell, int], fx: Fx) -> Earnings:
    """Revenue of a window's cells (``Book.between``) in the reporting currency."""
    sums: dict[tuple[str, str, date | None], int] = {}
    for cell, amount in cells.items():
        if cell.kind == "revenue":
            key = (cell.product, cell.currency, cell.day)
            sums[key] = sums.get(key, 0) + amount
    missing: set[str] = set()
    by_product: dict[str, Decimal] = {}
    for product, currency, day in sorted(sums, key=lambda key: (*key[:2], key[2] or date.min)):
        rate = Decimal(1) if day is None else fx.rate(currency, day)
        if rate is None:
            missing.add(currency)
            continue
        worth = amount_of(sums[product, currency, day], currency) * rate
        by_product[product] = by_product.get(product, Decimal(0)) + worth
    return Earnings(sum(by_product.values(), Decimal(0)), by_product, frozenset(missing))


def by_account(cells: Mapping[Cell, int], kind: str) -> dict[tuple[str, str], Decimal]:
    """``{(account, currency): major units of that currency}`` of the cells of one kind."""
    sums: dict[tuple[str, str], int] = {}
    for cell, amount in cells.items():
        if cell.kind == kind:
            held = (cell.account, cell.currency)
            sums[held] = sums.get(held, 0) + amount
    return {held: amount_of(sums[held], held[1]) for held in sorted(sums)}


def held_currencies(book: Book) -> set[tuple[str, str]]:
    """(account, currency) of everything in the book: where nothing is left to earn, that is known to be 0."""
    return {(cell.account, cell.currency) for shard in book.shards.values() for cell in shard.cells}
