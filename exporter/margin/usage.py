"""The cost side: usage totals priced under the price in force at their own time, joined in the reporting currency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, localcontext
from typing import TypeVar
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from exporter.clock import day_of
from exporter.config import Fx, Settings
from exporter.cost.evidence import Chosen, choose, drawn_terms, meters_of
from exporter.cost.metering import metered_rate
from exporter.cost.pricebook import PriceBook
from exporter.cost.pricefile import EvidenceKind
from exporter.cost.pricing import EXACT, Amounts, MeterRate, Pending, Priced, Unpriced
from exporter.cost.settlement import Settled, Settling
from exporter.margin.parts import Part
from exporter.store.usage import UsageKey, UsageTotal
from exporter.usagelog import Status

K = TypeVar("K")
ZERO = Decimal(0)
Outcome = Priced | Unpriced | Pending


class Pricing:
    """A price book and the meaning of each log's statuses: prices usage totals, and remembers what it priced."""

    def __init__(self, book: PriceBook, canonical_status: Mapping[str, Callable[[str | None], Status]]) -> None:
        self.book = book
        self._canonical_status = canonical_status
        self._known: WeakKeyDictionary[Part, tuple[Fx, ZoneInfo, object, Cost]] = WeakKeyDictionary()
        self._told: dict[UsageKey, tuple[tuple[str, str], Status]] = {}
        self._settling: dict[str, Settling] = {}
        self._metered = any(provider.metered for provider in book.providers.values())

    @classmethod
    def of(cls, book: PriceBook, settings: Settings) -> Pricing:
        """``book`` for the usage logs of margin.yaml."""
        return cls(book, {usage.name: usage.canonical_status for usage in settings.usage})

    def status(self, key: UsageKey) -> Status:
        """The canonical status of a kind of usage; of a log that the configuration does not name any more nobody knows
        what its words mean."""
        return self.tell(key)[1]

    def labels(self, key: UsageKey) -> tuple[str, str]:
        """The labels ``provider`` and ``model`` of a kind of usage; bounded by the price book."""
        return self.tell(key)[0]

    def tell(self, key: UsageKey) -> tuple[tuple[str, str], Status]:
        """Labels and status of a kind of usage."""
        found = self._told.get(key)
        if found is None:
            means = self._canonical_status.get(key.source)
            labels = (self.book.provider_label(key.provider), self.book.model_label(key))
            found = self._told[key] = (labels, "unknown" if means is None else means(key.status))
        return found

    def settling(self, zone: ZoneInfo) -> Settling:
        """The run of metered usage through this price book, remembered by business time zone."""
        if zone.key not in self._settling:
            self._settling[zone.key] = Settling(self.book, zone, self.status)
        return self._settling[zone.key]

    def __call__(self, key: UsageKey, total: UsageTotal) -> Outcome:
        """Price one total alone. What is metered costs its nominal price, as if nothing had been used before: enough
        for comparing totals, not for adding them up."""
        terms = drawn_terms(self.book, key, self.status(key), total.start)
        rates = None
        if terms is not None:
            rates = [meters_of(self.book).nominal(metered, total.start) for metered in terms.metered]
        return self.choose(key, total, rates).outcome

    def choose(self, key: UsageKey, total: UsageTotal, rates: Sequence[MeterRate | Unpriced] | None) -> Chosen:
        """The cost of one total by the best evidence; ``rates`` are those of its metered terms."""
        measures = dict(zip(key.measures, total.measures, strict=True))
        return choose(self.book, key, self.status(key), total.requests, measures, total.start, rates)

    def rates(self, key: UsageKey, total: UsageTotal, part: Part, settled: Settled) -> Sequence[MeterRate | Unpriced]:
        """What the metered terms of ``total`` cost in ``part``; none where it has none."""
        terms = drawn_terms(self.book, key, self.status(key), total.start) if self._metered else None
        if terms is None or not terms.metered:
            return ()
        not_yet: MeterRate | Unpriced = Unpriced("not_grouped")
        if not part.bucket:
            return settled.segments.get(part.start, {}).get(total.key_id, (not_yet,) * len(terms.metered))
        blends = settled.buckets.get(part.start, {})
        return [metered_rate(one, blends) if one.meter in blends else not_yet for one in terms.metered]

    def cost(self, part: Part, keys: Mapping[int, UsageKey], fx: Fx, zone: ZoneInfo, settled: Settled) -> Cost:
        """Cost of one part; remembered, so that a refresh prices only what changed."""
        known = self._known.get(part)
        metered: object = (settled.buckets if part.bucket else settled.segments).get(part.start)
        if known is None or known[0] is not fx or known[1] is not zone or known[2] is not metered:
            with localcontext(EXACT):  # whoever asks first
                cost = _price(part, keys, self, fx, zone, settled)
            known = self._known[part] = (fx, zone, metered, cost)
        return known[3]


@dataclass(slots=True)
class Cost:
    """Usage of one window, priced. Money is in major units of the reporting currency.

    ``missing_fx`` are the price currencies without a rate on a day that needs one; the models they touch,
    ``without_rate``, are left out of ``by_model`` whole, never in part. ``off_list`` is what the list price is above
    what is paid, ``estimated`` the part of the cost that is by a fallback's price. ``evidence`` is by model, kind of
    evidence, and whether it was chosen; ``quarantined`` are requests whose reported cost was not believed, by provider.
    ``wasted`` is the part of the cost whose requests did not succeed, by provider and status.
    ``by_key`` is of one part alone: the cost of each of its keys that has one.
    """

    by_model: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    off_list: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    estimated: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    evidence: dict[tuple[tuple[str, str], EvidenceKind, bool], Decimal] = field(default_factory=dict)
    wasted: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    unpriced: dict[tuple[str, str], int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    priced_requests: int = 0
    billable_requests: int = 0
    missing_fx: set[str] = field(default_factory=set)
    without_rate: set[tuple[str, str]] = field(default_factory=set)
    by_key: dict[int, Decimal] = field(default_factory=dict)

    def add(self, other: Cost) -> None:
        """Add the cost of further usage, exactly; without ``by_key``."""
        _sum(self.by_model, other.by_model)
        _sum(self.off_list, other.off_list)
        _sum(self.estimated, other.estimated)
        _sum(self.evidence, other.evidence)
        _sum(self.wasted, other.wasted)
        for provider, requests in other.quarantined.items():
            self.quarantined[provider] = self.quarantined.get(provider, 0) + requests
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
        return not self.unpriced and not self.quarantined and not self.missing_fx


def _sum(into: dict[K, Decimal], amounts: Mapping[K, Decimal]) -> None:
    for label, amount in amounts.items():
        _add(into, label, amount)


def _add(into: dict[K, Decimal], label: K, amount: Decimal) -> None:
    into[label] = into.get(label, ZERO) + amount


def cost_of(
    parts: Iterable[Part],
    keys: Mapping[int, UsageKey],
    pricing: Pricing,
    fx: Fx,
    zone: ZoneInfo,
    settled: Settled | None = None,
) -> Cost:
    """Price ``parts`` and join them by provider and model."""
    cost = Cost()
    with localcontext(EXACT):
        for part in parts:
            cost.add(pricing.cost(part, keys, fx, zone, settled or NOTHING))
    return without_unconverted(cost)


def without_unconverted(cost: Cost) -> Cost:
    """``cost`` without the models that have no exchange rate somewhere in the window: whole, never in part."""
    for label in cost.without_rate:
        for amounts in (cost.by_model, cost.off_list, cost.estimated):
            amounts.pop(label, None)
    if cost.without_rate:
        cost.evidence = {of: amount for of, amount in cost.evidence.items() if of[0] not in cost.without_rate}
        incomplete = {provider for provider, _ in cost.without_rate}
        cost.wasted = {of: amount for of, amount in cost.wasted.items() if of[0] not in incomplete}
    return cost


NOTHING = Settled()
"""Nothing is metered."""


def _price(
    part: Part, keys: Mapping[int, UsageKey], pricing: Pricing, fx: Fx, zone: ZoneInfo, settled: Settled
) -> Cost:
    cost = Cost()
    day = day_of(part.start, zone)
    spent: dict[tuple[tuple[str, str], EvidenceKind], Decimal] = {}
    for total in part.totals:
        key = keys[total.key_id]
        chosen = pricing.choose(key, total, pricing.rates(key, total, part, settled))
        outcome = chosen.outcome
        if isinstance(outcome, Pending):
            continue
        cost.billable_requests += total.requests
        label, status = pricing.tell(key)
        if chosen.quarantined:
            cost.quarantined[label[0]] = cost.quarantined.get(label[0], 0) + total.requests
        for kind, amounts in chosen.amounts.items():
            if kind != chosen.kind and (other := joined(amounts, fx, day)) is not None:
                _add(cost.evidence, (label, kind, False), other)
        if isinstance(outcome, Unpriced):
            reason = (label[0], outcome.reason)
            cost.unpriced[reason] = cost.unpriced.get(reason, 0) + total.requests
            continue
        cost.priced_requests += total.requests
        amount = joined(outcome.amounts, fx, day)
        listed = amount if outcome.list_amounts is None else joined(outcome.list_amounts, fx, day)
        if amount is None or listed is None:
            currencies = {currency for currency, _ in (*outcome.amounts, *(outcome.list_amounts or ()))}
            cost.missing_fx |= {currency for currency in currencies if fx.rate(currency, day) is None}
            cost.without_rate.add(label)
            continue
        if label in cost.without_rate:
            continue
        assert chosen.kind is not None  # what has a cost has it from somewhere
        _add(spent, (label, chosen.kind), amount)
        cost.by_key[total.key_id] = amount
        if status != "succeeded":
            _add(cost.wasted, (label[0], status), amount)
        if outcome.list_amounts is not None:
            _add(cost.off_list, label, listed - amount)
        if outcome.estimated:
            _add(cost.estimated, label, amount)
    for (label, kind), amount in spent.items():
        cost.evidence[label, kind, True] = amount
        _add(cost.by_model, label, amount)
    return cost


def joined(amounts: Amounts, fx: Fx, day: date) -> Decimal | None:
    """In the reporting currency; None where one of the currencies has no rate."""
    total = ZERO
    for currency, one in amounts:
        rate = fx.rate(currency, day)
        if rate is None:
            return None
        total = EXACT.fma(one, rate, total)
    return total
