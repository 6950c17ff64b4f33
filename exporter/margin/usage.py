"""The cost side: usage totals priced under the price in force at their own time, joined in the reporting currency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.config import Fx
from exporter.cost.pricebook import PriceBook
from exporter.cost.pricing import EXACT, Pending, Priced, Unpriced, price
from exporter.margin.remembered import Part
from exporter.store.usage import UsageKey, UsageTotal
from exporter.usagelog import Status

Outcome = Priced | Unpriced | Pending


class Pricing:
    """A price book and the meaning of each log's statuses: prices usage totals, and remembers what it priced."""

    def __init__(self, book: PriceBook, canonical_status: Mapping[str, Callable[[str | None], Status]]) -> None:
        self.book = book
        self._canonical_status = canonical_status
        self._known: WeakKeyDictionary[Part, tuple[Fx, ZoneInfo, Cost]] = WeakKeyDictionary()
        self._labels: dict[UsageKey, tuple[str, str]] = {}

    def labels(self, key: UsageKey) -> tuple[str, str]:
        """The labels ``provider`` and ``model`` of a kind of usage; bounded by the price book."""
        found = self._labels.get(key)
        if found is None:
            found = self._labels[key] = (self.book.provider_label(key.provider), self.book.model_label(key))
        return found

    def __call__(self, key: UsageKey, total: UsageTotal) -> Outcome:
        """Price one total."""
        status = self._canonical_status[key.source](key.status)
        measures = dict(zip(key.measures, total.measures, strict=True))
        return price(self.book, key, status, total.requests, measures, total.start)

    def cost(self, part: Part, keys: Mapping[int, UsageKey], fx: Fx, zone: ZoneInfo) -> Cost:
        """Cost of one part; remembered, so that a refresh prices only what changed."""
        known = self._known.get(part)
        if known is None or known[0] is not fx or known[1] is not zone:
            known = self._known[part] = (fx, zone, _price(part.totals, keys, self, fx, zone))
        return known[2]


@dataclass
class Cost:
    """Usage of one window, priced. Money is in major units of the reporting currency.

    ``missing_fx`` are the price currencies without a rate on a day that needs one; the models they touch,
    ``without_rate``, are left out of ``by_model`` whole, never in part. ``by_key`` is of one part alone: the cost of
    each of its keys that has one.
    """

    by_model: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    unpriced: dict[tuple[str, str], int] = field(default_factory=dict)
    priced_requests: int = 0
    billable_requests: int = 0
    missing_fx: set[str] = field(default_factory=set)
    without_rate: set[tuple[str, str]] = field(default_factory=set)
    by_key: dict[int, Decimal] = field(default_factory=dict)

    def add(self, other: Cost) -> None:
        """Add the cost of further usage, exactly; without ``by_key``."""
        for label, amount in other.by_model.items():
            self.by_model[label] = self.by_model.get(label, Decimal(0)) + amount
        for reason, requests in other.unpriced.items():
            self.unpriced[reason] = self.unpriced.get(reason, 0) + requests
        self.priced_requests += other.priced_requests
        self.billable_requests += other.billable_requests
        self.missing_fx |= other.missing_fx
        self.without_rate |= other.without_rate

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


def cost_of(parts: Iterable[Part], keys: Mapping[int, UsageKey], pricing: Pricing, fx: Fx, zone: ZoneInfo) -> Cost:
    """Price ``parts`` and join them by provider and model."""
    cost = Cost()
    with localcontext(EXACT):
        for part in parts:
            cost.add(pricing.cost(part, keys, fx, zone))
    for label in cost.without_rate:
        cost.by_model.pop(label, None)
    return cost


def _price(
    totals: Iterable[UsageTotal], keys: Mapping[int, UsageKey], pricing: Pricing, fx: Fx, zone: ZoneInfo
) -> Cost:
    cost = Cost()
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
                cost.without_rate.add(label)
            else:
                cost.by_model[label] = cost.by_model.get(label, Decimal(0)) + amount * rate
                cost.by_key[total.key_id] = cost.by_key.get(total.key_id, Decimal(0)) + amount * rate
        if not outcome.amounts:
            cost.by_model.setdefault(label, Decimal(0))
    return cost
