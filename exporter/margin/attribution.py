"""Figures by customer and by product: contribution, and what remains of the totals. Pure, as ``figures`` is.

Every label's revenue, cost and profit are its own; ``other`` is all labels without series of their own,
``unattributed`` what nobody knows whose it is. The one of them that cannot be read is what remains of the total, so
that the sum over all labels is the total, exactly.

Contribution is revenue − usage − the fees of the label's charges − the plans and fixed costs that the price book says
to allocate. Costs that belong to nobody (Stripe's own fee rows, payout fees, other plans and fixed costs) stay in
``unattributed``.

Usage by customer is kept by business day (split where a price changes). Where a window begins or ends within a day, the
cost of each kind of usage in that part of the day is shared in proportion to the day: its sum is exact, its split is
not. Windows of whole days, and days up to now, are exact.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from exporter.clock import day_of, day_start
from exporter.config import Fx, Settings
from exporter.cost.pricing import EXACT, ZERO, Priced
from exporter.margin.earnings import Earnings, recognized_by
from exporter.margin.figures import Figures
from exporter.margin.groups import OTHER, UNATTRIBUTED, DayShares, Grouped, Money, Shares, Split
from exporter.margin.ledger import Ledger, cut, split
from exporter.margin.parts import Part
from exporter.margin.plans import allocated
from exporter.margin.usage import Pricing
from exporter.store.usage import CustomerTotal, UsageKey, UsageTotal

Amounts = Mapping[str, Fraction]
"""Major units of the reporting currency by label."""


@dataclass(frozen=True)
class Attributed:
    """One window by label. ``revenue`` and ``gross_profit`` by basis; what is not known is missing, never 0."""

    revenue: Mapping[str, Amounts]
    cost: Amounts | None
    gross_profit: Mapping[str, Amounts]


def attribute(figures: Figures, grouped: Grouped, ledger: Ledger, pricing: Pricing, settings: Settings) -> Attributed:
    """``figures`` of a window, by the labels of ``grouped``."""
    window = figures.window
    revenue: dict[str, Amounts] = {}
    profit: dict[str, Amounts] = {}
    costs: Amounts | None = None
    for basis in ("cash", "recognized"):
        if basis in figures.revenue and (by := _revenue(basis, grouped, ledger, settings, window.start, window.end)):
            revenue[basis] = by
    if "usage" in figures.components:
        costs = _costs(grouped, ledger, pricing, settings, window.start, window.end)
    shared: dict[int, Amounts] = {} if costs is None else {window.end: costs}
    for basis in revenue:
        total = figures.gross_profit.get(basis)
        if total is None:
            continue
        end = min(window.end, cut(figures.as_of[basis]))
        sales = revenue[basis] if end == window.end else _revenue(basis, grouped, ledger, settings, window.start, end)
        if end not in shared:
            shared[end] = _costs(grouped, ledger, pricing, settings, window.start, end)
        fees = _fees(grouped, ledger, settings, window.start, end)
        plans = _allocated(sales, shared[end], grouped, ledger, pricing, settings, window.start, end)
        profit[basis] = _profits(sales, fees, shared[end], plans, total)
    return Attributed(revenue, costs, profit)


def _revenue(basis: str, grouped: Grouped, ledger: Ledger, settings: Settings, start: int, end: int) -> Amounts:
    """Revenue of ``[start, end)`` by label; nothing while what tells the labels may not be used."""
    if grouped.linked and ledger.joint(ledger.sources.invoices) is None:
        return {}
    if basis == "cash":
        known = grouped.cash.of(start, end, settings.fx, settings.zone)
        total = _money(ledger, settings, start, end).net_sales
        return _rest({label: found.net_sales for label, found in known.items()}, grouped, total)
    earned = recognized_by(ledger, settings, start, end) or Earnings()
    amounts: dict[str, Decimal] = {}
    labels = frozenset(grouped.labels)
    for name, amount in (earned.by_product if grouped.linked else earned.by_customer).items():
        _weigh(amounts, name if name in labels else OTHER if name else UNATTRIBUTED, amount)
    return _rest(amounts, grouped, earned.total)


def _fees(grouped: Grouped, ledger: Ledger, settings: Settings, start: int, end: int) -> Amounts:
    """Fees of the labels' charges in ``[start, end)``; those of no charge are nobody's."""
    known = grouped.cash.of(start, end, settings.fx, settings.zone)
    total = _money(ledger, settings, start, end).fees
    return _rest({label: found.fees for label, found in known.items()}, grouped, total)


def _money(ledger: Ledger, settings: Settings, start: int, end: int) -> Money:
    whole = Money()
    with localcontext(EXACT):
        for key, cash in ledger.cash.fold(start, end, settings.zone).items():
            whole = whole.plus(cash, key.currency, settings.fx.rate(key.currency, key.day) or Decimal(0))
    return whole


def _allocated(
    revenue: Amounts,
    costs: Amounts,
    grouped: Grouped,
    ledger: Ledger,
    pricing: Pricing,
    settings: Settings,
    start: int,
    end: int,
) -> Amounts:
    """What of plans and fixed costs each label bears in ``[start, end)``, in proportion to its usage's cost, to its
    requests or to its revenue, where that is above 0. Where nobody has any, nobody bears it."""
    found = dict.fromkeys(revenue, Fraction(0))
    for method, amount in allocated(pricing.book, settings.fx, settings.zone, start, end).items():
        if method == "requests":
            by = _requests(grouped, ledger, settings, start, end)
        else:
            by = costs if method == "cost" else revenue
        weights = {label: max(Fraction(0), of) for label, of in by.items()}
        whole = sum(weights.values(), Fraction(0))
        if whole:
            _add(found, {label: Fraction(amount) * weight / whole for label, weight in weights.items()})
    return found


def _profits(revenue: Amounts, fees: Amounts, costs: Amounts, plans: Amounts, total: Decimal) -> Amounts:
    """Contribution of each label; ``unattributed`` has all that is not anybody's."""
    found = {
        label: revenue[label] - fees[label] - costs[label] - plans[label] for label in revenue if label != UNATTRIBUTED
    }
    return {**found, UNATTRIBUTED: Fraction(total) - sum(found.values(), Fraction(0))}


def _remainder(known: Amounts, grouped: Grouped, total: Decimal) -> Amounts:
    """All labels with what is known of them, and ``grouped.rest`` with what remains of ``total``."""
    found = {label: known.get(label, Fraction(0)) for label in _known(grouped)}
    return {**found, grouped.rest: Fraction(total) - sum(found.values(), Fraction(0))}


def _rest(known: Mapping[str, Decimal], grouped: Grouped, total: Decimal) -> Amounts:
    """The same of amounts that end in decimals: those are summed in a third of the time."""
    found = {label: known.get(label, ZERO) for label in _known(grouped)}
    for amount in found.values():
        total = EXACT.subtract(total, amount)
    return {label: Fraction(amount) for label, amount in {**found, grouped.rest: total}.items()}


def _known(grouped: Grouped) -> list[str]:
    return sorted([*grouped.labels, *{OTHER, UNATTRIBUTED} - {grouped.rest}])


def _costs(grouped: Grouped, ledger: Ledger, pricing: Pricing, settings: Settings, start: int, end: int) -> Amounts:
    """Cost of usage in ``[start, end)`` by label."""

    def whole(part: Part) -> Mapping[int, Decimal]:
        return pricing.cost(part, ledger.keys, settings.fx, settings.zone, ledger.settled).by_key

    def day(segment: Part) -> DayShares:
        return _day(grouped, segment, ledger, pricing, settings)

    total = ledger.cost_in(start, end, pricing, settings).total
    return _remainder(_spread(ledger, settings, start, end, whole, day), grouped, total)


def _requests(grouped: Grouped, ledger: Ledger, settings: Settings, start: int, end: int) -> Amounts:
    """Requests in ``[start, end)`` by label, whatever became of them."""

    def day(segment: Part) -> DayShares:
        return _day_requests(grouped, segment, ledger.keys)

    parts = ledger.usage_in(start, end, settings.zone)
    total = sum(one.requests for part in parts for one in part.totals)
    return _remainder(_spread(ledger, settings, start, end, requests_of, day), grouped, Decimal(total))


def requests_of(part: Part) -> Mapping[int, Decimal]:
    """Requests by key."""
    return {total.key_id: Decimal(total.requests) for total in part.totals}


def _spread(
    ledger: Ledger,
    settings: Settings,
    start: int,
    end: int,
    whole: Callable[[Part], Mapping[int, Decimal]],
    day: Callable[[Part], DayShares],
) -> dict[str, Fraction]:
    """What ``day`` says of whole days; and of days that ``[start, end)`` begins or ends in, the part that is in it."""
    zone = settings.zone
    parts = split(start, end, zone)
    inside = (segment for segment in ledger.segments if parts.days[0] <= segment.start < parts.days[1])
    found = dict(_sum(tuple(map(day, inside))))
    starts = [segment.start for segment in ledger.segments]
    edges: dict[int, dict[int, Decimal]] = {}
    for low, high in parts.edges:
        midnight = day_start(day_of(low, zone), zone)
        for bucket in ledger.buckets:
            if low <= bucket.start < high:
                place = bisect_right(starts, bucket.start) - 1
                if place < 0 or starts[place] < midnight:
                    continue
                of_day = edges.setdefault(place, {})
                for key, amount in whole(bucket).items():
                    of_day[key] = of_day.get(key, Decimal(0)) + amount
    for place, of_day in edges.items():
        segment = ledger.segments[place]
        shares, of_segment = day(segment), whole(segment)
        for key, amount in of_day.items():
            if of_segment.get(key) and key in shares.by_key:
                each, weights = shares.by_key[key]
                each *= Fraction(amount) / Fraction(of_segment[key])
                _add(found, {label: Fraction(weight) * each for label, weight in weights.items()})
    return found


@lru_cache(maxsize=24)  # about as many as a reading asks for; it keeps alive no more than that
def _sum(days: tuple[DayShares, ...]) -> Amounts:
    """Whole days by label. Mostly they are those of the reading before, and the same objects."""
    found: dict[str, Fraction] = {}
    for one in days:
        _add(found, one.by_label)
    return found


def _add(sums: dict[str, Fraction], amounts: Mapping[str, Fraction]) -> None:
    for label, amount in amounts.items():
        sums[label] = sums.get(label, Fraction(0)) + amount


def _day(
    grouped: Grouped,
    segment: Part,
    ledger: Ledger,
    pricing: Pricing,
    settings: Settings,
) -> DayShares:
    """Cost of a segment by label; remembered as long as neither its usage nor its prices change."""
    shares = grouped.usage.get(segment.start)
    if shares is None:
        shares = Shares(segment.start, ())
    made_of = (segment, pricing, settings, ledger.settled.segments.get(segment.start))
    known = grouped.days.get(shares)
    if known is None or any(now is not then for now, then in zip(made_of, known[0], strict=True)):
        known = grouped.days[shares] = (made_of, _share_out(grouped, segment, shares, ledger, pricing, settings))
    return known[1]


def _day_requests(grouped: Grouped, segment: Part, keys: Mapping[int, UsageKey]) -> DayShares:
    """Requests of a segment by label; remembered as long as its usage does not change."""
    shares = grouped.usage.get(segment.start)
    if shares is None:
        shares = Shares(segment.start, ())
    known = grouped.requests.get(shares)
    if known is None or known[0][0] is not segment:
        by_key: dict[int, dict[str, Decimal]] = {}
        for total in segment.totals:
            if (own := grouped.own(keys[total.key_id])) is not None:
                by_key[total.key_id] = {own: Decimal(total.requests)}
        for share in shares.totals:
            if grouped.own(keys[share.key_id]) is None:
                _weigh(by_key.setdefault(share.key_id, {}), share.customer_id, Decimal(share.requests))
        found = _day_shares({key: Split(Fraction(1), weights) for key, weights in by_key.items()})
        known = grouped.requests[shares] = ((segment,), found)
    return known[1]


def _share_out(
    grouped: Grouped,
    segment: Part,
    shares: Shares,
    ledger: Ledger,
    pricing: Pricing,
    settings: Settings,
) -> DayShares:
    """Each kind of usage costs what it costs; labels share it in proportion to what theirs would cost alone."""
    keys, day = ledger.keys, day_of(segment.start, settings.zone)
    costs = pricing.cost(segment, keys, settings.fx, settings.zone, ledger.settled).by_key
    totals = {total.key_id: total for total in segment.totals}
    own = {key_id: grouped.own(keys[key_id]) for key_id in costs}
    by_key = {key_id: Split(Fraction(1), {label: costs[key_id]}) for key_id, label in own.items() if label is not None}
    parts: dict[int, list[CustomerTotal]] = {}
    for share in shares.totals:
        if share.key_id in costs and own[share.key_id] is None:
            parts.setdefault(share.key_id, []).append(share)
    for key_id, of_key in parts.items():
        cost, total = costs[key_id], totals[key_id]
        alone = _weight(total, keys[key_id], pricing, settings.fx, day)
        weights: dict[str, Decimal] = {}
        for share in of_key:
            weight = Decimal(share.requests)
            if alone:
                part = UsageTotal(share.source, share.start, key_id, share.requests, share.measures)
                weight = _weight(part, keys[key_id], pricing, settings.fx, day)
            _weigh(weights, share.customer_id, weight)
        by_key[key_id] = Split(Fraction(cost) / Fraction(alone or total.requests), weights)
    return _day_shares(by_key)


def _day_shares(by_key: Mapping[int, Split]) -> DayShares:
    """With the sums by label. Weights that are amounts themselves, as most are, are summed as such."""
    amounts: dict[str, Decimal] = {}
    by_label: dict[str, Fraction] = {}
    for each, weights in by_key.values():
        if each == 1:
            for label, weight in weights.items():
                _weigh(amounts, label, weight)
        else:
            _add(by_label, {label: Fraction(weight) * each for label, weight in weights.items()})
    _add(by_label, {label: Fraction(amount) for label, amount in amounts.items()})
    return DayShares(by_label, by_key)


def _weigh(weights: dict[str, Decimal], label: str, weight: Decimal) -> None:
    weights[label] = EXACT.add(weights.get(label, ZERO), weight)


def _weight(total: UsageTotal, key: UsageKey, pricing: Pricing, fx: Fx, day: date) -> Decimal:
    """What ``total`` costs alone, in the reporting currency; 0 where it has no price."""
    outcome, weight = pricing(key, total), ZERO
    for currency, amount in outcome.amounts if isinstance(outcome, Priced) else ():
        weight = EXACT.fma(amount, fx.rate(currency, day) or ZERO, weight)
    return weight
