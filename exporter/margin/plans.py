"""Costs that no call has: plan fees and fixed costs by elapsed time, and packs that expired with units left. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

from exporter.clock import day_of, day_starts
from exporter.config import Fx
from exporter.cost.accrual import accrued
from exporter.cost.billing import EXACT
from exporter.cost.plans import Allocation, Recurring
from exporter.cost.pricebook import PriceBook
from exporter.cost.settlement import Settled

UTC = ZoneInfo("UTC")


@dataclass
class Plans:
    """Costs of one window by component, in major units of the reporting currency. A component is there when the price
    book has any of its kind, and not when a day of it has no exchange rate. ``fixed``: fixed costs by category, each
    likewise."""

    components: dict[str, Decimal] = field(default_factory=dict)
    fixed: dict[str, Decimal] = field(default_factory=dict)
    missing_fx: set[str] = field(default_factory=set)

    @property
    def total(self) -> Decimal:
        return sum(self.components.values(), Decimal(0))


def plans_of(book: PriceBook, settled: Settled, fx: Fx, zone: ZoneInfo, start: int, end: int) -> Plans:
    """``subscription``, ``fixed`` and ``breakage`` of ``[start, end)``; ``zone`` is that of business days."""
    found = Plans()
    providers = book.providers.values()
    plans = [(plan, one.zone) for one in providers for plan in one.subscriptions]
    _accrue(found, found.components, "subscription", plans, fx, zone, start, end)
    categories = dict.fromkeys(cost.category for cost in book.fixed_costs)
    for category in categories:
        costs = [(cost, UTC) for cost in book.fixed_costs if cost.category == category]
        _accrue(found, found.fixed, category, costs, fx, zone, start, end)
    if categories and len(found.fixed) == len(categories):
        with localcontext(EXACT):
            found.components["fixed"] = sum(found.fixed.values(), Decimal(0))
    if any(one.packs for one in providers):
        amount: Decimal | None = Decimal(0)
        for expired in settled.expired:
            if not start <= expired.at < end:
                continue
            rate = fx.rate(expired.currency, day_of(expired.at, zone))
            if rate is None:
                found.missing_fx.add(expired.currency)
                amount = None
            elif amount is not None:
                amount = EXACT.add(amount, EXACT.multiply(expired.amount, rate))
        if amount is not None:
            found.components["breakage"] = amount
    return found


def allocated(book: PriceBook, fx: Fx, zone: ZoneInfo, start: int, end: int) -> Mapping[Allocation, Decimal]:
    """What of plans and fixed costs is to be shared among customers and products in ``[start, end)``, by how."""
    found = Plans()
    shared: dict[Allocation, list[tuple[Recurring, ZoneInfo]]] = {"cost": [], "revenue": [], "requests": []}
    for provider in book.providers.values():
        for plan in provider.subscriptions:
            shared.get(plan.allocate_by, []).append((plan, provider.zone))
    for cost in book.fixed_costs:
        shared.get(cost.allocate_by, []).append((cost, UTC))
    for method, plans in shared.items():
        _accrue(found, found.components, method, plans, fx, zone, start, end)
    return {method: found.components[method] for method in shared if method in found.components}


def _accrue(
    found: Plans,
    into: dict[str, Decimal],
    name: str,
    plans: Sequence[tuple[Recurring, ZoneInfo]],
    fx: Fx,
    zone: ZoneInfo,
    start: int,
    end: int,
) -> None:
    if not plans:
        return
    amount: Decimal | None = Decimal(0)
    for plan, own in plans:
        low, high = max(start, plan.from_), end if plan.to is None else min(end, plan.to)
        for since, until, rate in _rates(plan.currency, fx, zone, low, high):
            if rate is None:
                found.missing_fx.add(plan.currency)
                amount = None
            elif amount is not None:
                amount = EXACT.add(amount, EXACT.multiply(accrued(plan, own, since, until), rate))
    if amount is not None:
        into[name] = amount


def _rates(currency: str, fx: Fx, zone: ZoneInfo, start: int, end: int) -> Iterator[tuple[int, int, Decimal | None]]:
    """``[start, end)`` in stretches of one exchange rate."""
    if start >= end:
        return
    since, rate = start, fx.rate(currency, day_of(start, zone))
    if currency in fx.rates:
        for at in day_starts(start, end, zone)[1:]:
            following = fx.rate(currency, day_of(at, zone))
            if following != rate:
                yield since, at, rate
                since, rate = at, following
    yield since, end, rate
