"""The cost side: usage totals priced under the price in force at their own time, joined in the reporting currency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.pricebook import PriceBook
from exporter.cost.pricing import EXACT, Pending, Priced, Unpriced, price
from exporter.store.usage import UsageKey, UsageTotal
from exporter.usagelog import Status

Outcome = Priced | Unpriced | Pending

CACHE_SIZE = 200_000
"""Priced totals remembered: closed segments never change, so a refresh prices only what is new."""


class Pricing:
    """A price book and the meaning of each log's statuses: prices usage totals, and remembers what it priced."""

    def __init__(self, book: PriceBook, canonical_status: Mapping[str, Callable[[str | None], Status]]) -> None:
        self.book = book
        self._canonical_status = canonical_status
        self._known: dict[UsageTotal, Outcome] = {}
        self._labels: dict[UsageKey, tuple[str, str]] = {}

    def labels(self, key: UsageKey) -> tuple[str, str]:
        """The labels ``provider`` and ``model`` of a kind of usage; bounded by the price book."""
        found = self._labels.get(key)
        if found is None:
            found = self._labels[key] = (self.book.provider_label(key.provider), self.book.model_label(key))
        return found

    def __call__(self, key: UsageKey, total: UsageTotal) -> Outcome:
        """Price one total; pure but for the memory."""
        outcome = self._known.get(total)
        if outcome is None:
            if len(self._known) >= CACHE_SIZE:
                self._known.clear()
            status = self._canonical_status[key.source](key.status)
            measures = dict(zip(key.measures, total.measures, strict=True))
            outcome = self._known[total] = price(self.book, key, status, total.requests, measures, total.start)
        return outcome


@dataclass
class Cost:
    """Usage of one window, priced. Money is in major units of the reporting currency.

    ``missing_fx`` are the price currencies without a rate on a day that needs one; the models they touch are left out
    of ``by_model`` whole, never in part.
    """

    by_model: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    unpriced: dict[tuple[str, str], int] = field(default_factory=dict)
    priced_requests: int = 0
    billable_requests: int = 0
    missing_fx: set[str] = field(default_factory=set)

    @property
    def total(self) -> Decimal:
        return sum(self.by_model.values(), Decimal(0))

    @property
    def coverage(self) -> Decimal | None:
        """Priced requests ÷ billable requests; None where nothing was billable."""
        return Decimal(self.priced_requests) / self.billable_requests if self.billable_requests else None

    @property
    def complete(self) -> bool:
        return not self.unpriced and not self.missing_fx


def cost_of(
    totals: Iterable[UsageTotal], keys: Mapping[int, UsageKey], pricing: Pricing, fx: Fx, zone: ZoneInfo
) -> Cost:
    """Price ``totals`` and join them by provider and model."""
    with localcontext(EXACT):
        return _add_up(totals, keys, pricing, fx, zone)


def _add_up(
    totals: Iterable[UsageTotal], keys: Mapping[int, UsageKey], pricing: Pricing, fx: Fx, zone: ZoneInfo
) -> Cost:
    cost = Cost()
    without_rate: set[tuple[str, str]] = set()
    for total in totals:
        key = keys[total.key_id]
        outcome = pricing(key, total)
        if isinstance(outcome, Pending):
            continue
        cost.billable_requests += total.requests
        label = pricing.labels(key)
        if isinstance(outcome, Unpriced):
            reason = (label[0], outcome.reason)
            cost.unpriced[reason] = cost.unpriced.get(reason, 0) + total.requests
            continue
        cost.priced_requests += total.requests
        for currency, amount in outcome.amounts:
            rate = fx.rate(currency, day_of(total.start, zone))
            if rate is None:
                cost.missing_fx.add(currency)
                without_rate.add(label)
            else:
                cost.by_model[label] = cost.by_model.get(label, Decimal(0)) + amount * rate
        if not outcome.amounts:
            cost.by_model.setdefault(label, Decimal(0))
    for label in without_rate:
        cost.by_model.pop(label, None)
    return cost
