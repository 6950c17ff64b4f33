"""A customer's purse: payments and the spans in which the product may be used."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

from exporter.clock import DAY
from exporter.demo.books import Books
from exporter.demo.catalogue import PACKS, PRICES
from exporter.demo.coupons import monthly_of
from exporter.demo.desk import Desk
from exporter.demo.facts import Charge, Price


@dataclass(frozen=True, slots=True)
class Span:
    """While a customer may use the product: the ground of the usage log."""

    customer: str
    index: int
    product: str
    start: int
    end: int
    monthly: int
    """Cents a month that the plan brings in, in dollars (euros and pounds counted as dollars: close enough)."""


def months_later(anchor: int, months: int) -> int:
    """The same day and time ``months`` later, or the last day of a shorter month: how billing cycles run."""
    start = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_end(anchor: int, price: Price, periods: int) -> int:
    """End of the ``periods``-th period since ``anchor``."""
    count = price.interval_count * periods
    if price.interval == "day":
        return anchor + count * DAY
    if price.interval == "week":
        return anchor + count * 7 * DAY
    return months_later(anchor, count * (12 if price.interval == "year" else 1))


class Purse(Desk):
    """What a ``Life`` pays with."""

    def __init__(self, books: Books, index: int, rng: Random, spans: list[Span]) -> None:
        super().__init__(books, index)
        self.rng, self.spans = rng, spans
        self.delinquent = False

    def _price(self) -> Price:
        assert self.subscription is not None
        return PRICES[self.subscription.items[0].price.removeprefix("price_")]

    def _charge(
        self, tail: str, at: int, amount: int, description: str, failure: str | None = None, intent: str | None = None
    ) -> Charge | None:
        price = self._price()
        return self.books.charge(
            self.rng, tail, at, self.customer, price.currency, amount, description, price.product, failure, intent
        )

    def _pack(self, at: int, which: float) -> None:
        currency = self._price().currency
        names = PACKS[currency]
        pack = PRICES[names[int(which * len(names))]]
        self.books.charge(self.rng, self.tail(), at, self.customer, currency, pack.amount, "Credit pack", pack.product)

    def _span_from(self, at: int) -> None:
        sub = self.subscription
        assert sub is not None
        items = [(item, PRICES[item.price.removeprefix("price_")]) for item in sub.items]
        monthly = sum(monthly_of(price, item.quantity) for item, price in items)
        self.spans.append(Span(self.customer, self.index, self._price().product, at, self.now + 1, monthly))

    def _span_until(self, at: int) -> None:
        if self.spans and self.spans[-1].customer == self.customer and self.spans[-1].end == self.now + 1:
            self.spans[-1] = replace(self.spans[-1], end=at)
